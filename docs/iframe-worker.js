// A page that is opened from the disk gets no worker from its browser, so there a hidden frame searches in its place.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      const waiting = []
      frame.hidden = true
      document.body.append(frame)
      const inside = frame.contentWindow
      inside.document.open()
      inside.document.write("<!doctype html><body></body>")
      inside.document.close()
      inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
      const tell = data => inside.dispatchEvent(new inside.MessageEvent("message", { data }))
      this.postMessage = data => waiting.push(data)
      this.terminate = () => frame.remove()
      const script = inside.document.createElement("script")
      script.src = url
      script.onload = () => {
        this.postMessage = tell
        waiting.forEach(tell)
      }
      inside.document.body.append(script)
    }
  }
}
