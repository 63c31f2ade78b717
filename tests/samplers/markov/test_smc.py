"""Sequential Monte Carlo: Z unbiased, its error honest, all modes in their shares, budgets kept, mistakes told."""

import math

import pytest
import torch

from driftback.distributions import IsotropicGaussian
from driftback.errors import BadInput
from driftback.randomness import Rng
from driftback.samplers.frame import last
from driftback.samplers.markov import Hamiltonian, Langevin, Metropolis, RandomWalk
from driftback.samplers.markov.exchange import exchange
from driftback.samplers.markov.path import Path
from driftback.samplers.markov.smc import SMC

ONE = torch.tensor(1.0).double()
RUNGS = torch.tensor([0.0, 0.05, 0.3, 1.0]).double()


def mala(energy):
    return Metropolis(energy, Langevin(ONE))


def walk(energy):
    return Metropolis(energy, RandomWalk(ONE))


def hmc(leaps):
    return lambda energy: Hamiltonian(energy, 0.3 * ONE, length=1e9, jitter=0.0, most=leaps)


class Bell:
    """exp(-|x - 1|^2 / (2 .3^2))."""

    def __init__(self, d=3):
        self.event_shape = (d,)
        self.log_z = d / 2 * math.log(2 * math.pi * 0.09)

    def log_prob(self, x):
        return -((x - 1) / 0.3).square().sum(1) / 2

    def score(self, x):
        return (1 - x) / 0.09


class Box:
    """1 where all |x| < 1, and 0 elsewhere."""

    event_shape = (2,)
    log_z = 2 * math.log(2)

    def log_prob(self, x):
        return torch.where((x.abs() < 1).all(1), 0.0, -torch.inf).to(x)

    def score(self, x):
        return torch.zeros_like(x)


class Modes:
    """The 40 Gaussians of GMM40."""

    event_shape = (2,)
    means = (torch.rand(40, 2, generator=torch.Generator().manual_seed(0)).double() - 0.5) * 80
    deviation = math.log1p(math.e)

    def log_prob(self, x):
        squares = torch.cdist(x, self.means).square() / self.deviation**2
        return (-squares / 2).logsumexp(1) - math.log(40 * 2 * math.pi * self.deviation**2)

    def score(self, x):
        shares = (-torch.cdist(x, self.means).square() / self.deviation**2 / 2).softmax(1)
        return (shares @ self.means - x) / self.deviation**2


class Wells:
    """Many-well: 16 pairs of -a^4 + 6 a^2 + a / 2 - b^2 / 2."""

    event_shape = (32,)

    def log_prob(self, x):
        a, b = x[:, ::2], x[:, 1::2]
        return (-(a**4) + 6 * a**2 + a / 2 - b**2 / 2).sum(1)

    def score(self, x):
        a, b = x[:, ::2], x[:, 1::2]
        return torch.stack([-4 * a**3 + 12 * a + 0.5, -b], 2).flatten(1)


def round_normal(d, deviation=1.0, dtype=torch.float64):
    return IsotropicGaussian((d,), deviation, dtype=dtype)


@pytest.mark.parametrize(("kernel", "options"), [(mala, {}), (walk, {"islands": 2}), (mala, {"swaps": True})])
def test_z_is_unbiased(kernel, options):
    """400 runs of 40 particles on fixed rungs: the mean of Z, not of log Z, within 4.5 SE (once in 150,000)."""
    target = Bell()
    smc = SMC(Path(round_normal(3), target), kernel, betas=RUNGS, below=0.8, **options)
    z = torch.tensor([math.exp(last(smc(40, rng=s)).normaliser.log_z - target.log_z) for s in range(400)])
    assert abs(float(z.mean()) - 1) < 4.5 * float(z.std()) / 20
    assert float(z.std()) < 1.5


@pytest.mark.slow
@pytest.mark.parametrize(("n", "options"), [(200, {}), (400, {"islands": 10})])
def test_the_error_covers(n, options):
    """60 runs: the share within 2 standard errors. At .95 fewer than 50 come once in 1,800."""
    target, inside = Bell(6), 0
    for seed in range(60):
        told = last(SMC(Path(round_normal(6), target), mala, **options)(n, evaluations=20, rng=seed)).normaliser
        inside += abs(told.log_z - target.log_z) < 2 * told.error
    assert inside >= 50


def test_the_error_covers_with_a_copy_at_every_rung():
    """80 runs: root mean squared error told over the spread. Its floor is 8 %, so 1 in 100 seeds is refused; with the
    rounding of single particles taken out in place of that of families it was .68.
    """
    target = Bell()
    smc = SMC(Path(round_normal(3), target), mala, keep=0.97, below=1.0)
    told = [last(smc(200, rng=seed)).normaliser for seed in range(80)]
    spread = torch.tensor([one.log_z for one in told]).std()
    assert 0.8 < float(torch.tensor([one.error for one in told]).square().mean().sqrt() / spread) < 1.25


@pytest.mark.parametrize("swaps", [False, True])
def test_a_bounded_density_is_a_target(swaps):
    """12 runs, most of whose pilots lose more than half of their particles at once. The mean of log Z lies within 5.5
    of its errors of log 4 (by Student's law of 11 degrees a false alarm once in 5,000), and points fill the box: their
    deviation is 3 ** -0.5, known to 0.005.
    """
    off, ends = [], []
    for seed in range(12):
        smc = SMC(Path(round_normal(2), Box()), hmc(2), swaps=swaps, islands=4)
        ends.append(last(smc(400, evaluations=100, rng=seed)))
        off.append(ends[-1].normaliser.log_z - Box.log_z)
    off = torch.tensor(off)
    assert abs(float(off.mean())) < 5.5 * float(off.std()) / 12**0.5 < 0.15
    x = torch.cat([end.x for end in ends])
    assert float(x.abs().max()) < 1
    assert torch.allclose(x.std(0), torch.tensor(3**-0.5).double(), atol=0.02)
    assert max(end.evaluations for end in ends) <= 115


def test_a_target_beside_the_reference_is_told():
    far = Path(round_normal(2), Box())
    far.target.log_prob = lambda x: torch.where((x - 99).abs().amax(1) < 1, 0.0, -torch.inf).to(x)
    with pytest.raises(BadInput, match="never meets the target's support; begin with one as wide as the target"):
        last(SMC(far, hmc(2))(400, evaluations=100, rng=0))


def test_errors_follow_the_families():
    """Without copies the error is the delta method's; what copying equal weights adds is taken out again."""
    smc = SMC(Path(round_normal(3), Bell()), mala, betas=RUNGS, below=0.0)
    frame = last(smc(300, rng=0))
    assert not frame.copied
    shares = frame.log_weights.softmax(0)
    assert frame.error == pytest.approx(math.sqrt(float((shares - 1 / 300).square().sum())), rel=1e-9)

    class Same(Bell):
        def log_prob(self, x):
            return -x.square().sum(1) / 2

        score = None

    told = last(SMC(Path(round_normal(3), Same()), walk, betas=RUNGS, below=1.0)(300, rng=0)).normaliser
    assert told.log_z == pytest.approx(1.5 * math.log(2 * math.pi), abs=1e-9)
    assert told.error < 1e-6


def test_all_modes_in_their_shares():
    """2,000 particles from N(0, 30^2 I): each of 40 modes with its share; chi-square below 3 times 90 (of 39)."""
    frame = last(SMC(Path(round_normal(2, 30.0), Modes()), hmc(2), below=0.7)(2000, evaluations=60, rng=0))
    told = frame.normaliser
    assert abs(told.log_z) < 4 * told.error
    nearest = torch.cdist(frame.x, Modes.means).argmin(1)
    shares = torch.zeros(40).double().index_add(0, nearest, frame.log_weights.softmax(0))
    truth = (
        torch.bincount(
            torch.cdist(
                Modes.means.repeat(5000, 1) + Modes.deviation * Rng(1).normal((200_000, 2), dtype=torch.float64),
                Modes.means,
            ).argmin(1),
            minlength=40,
        )
        / 200_000
    )
    assert float(shares.min()) > 0
    assert float(((shares - truth).square() / truth).sum()) * told.size < 3 * 90


def test_budget_and_frames():
    path = Path(round_normal(3), Bell())
    frames = list(SMC(path, hmc(2))(200, evaluations=40, rng=0))
    assert path.energy.densities <= 40 * 200
    assert 35 <= frames[-1].evaluations <= 40
    assert frames[0].t == 1
    assert frames[-1].t == 0
    assert [f.t for f in frames] == sorted((f.t for f in frames), reverse=True)
    assert frames[0].normaliser.log_z == pytest.approx(0)
    with pytest.raises(BadInput, match="do not pay"):
        list(SMC(path, hmc(20))(200, evaluations=30, rng=0))


def test_a_seed_gives_the_same_run_and_points_keep_their_type():
    run = [last(SMC(Path(round_normal(3), Bell()), mala, jitter=0.3)(100, evaluations=20, rng=5)) for _ in range(2)]
    assert torch.equal(run[0].x, run[1].x)
    assert torch.equal(run[0].log_weights, run[1].log_weights)
    single = last(SMC(Path(round_normal(3, dtype=torch.float32), Bell()), mala)(500, rng=0))
    assert single.x.dtype == torch.float32
    assert abs(single.normaliser.log_z - Bell().log_z) < 5 * single.error


def test_hard_walls():
    """A target on half of the space: exp(-x^2 / 2) for x > 0 in the first coordinate."""

    class Half(Bell):
        def log_prob(self, x):
            return torch.where(x[:, 0] > 0, -x.square().sum(1) / 2, -torch.inf)

        score = None

    told = last(SMC(Path(round_normal(3), Half()), walk)(2000, rng=0)).normaliser
    assert abs(told.log_z - math.log(0.5) - 1.5 * math.log(2 * math.pi)) < 0.1


def test_a_narrow_reference_is_told():
    """N(0, .05^2) in 3 dimensions, one step to a target 20 times as wide: the k-hat of the weights says so."""

    class Wide(Bell):
        def log_prob(self, x):
            return -x.square().sum(1) / 2

        score = None

    betas = torch.tensor([0.0, 1.0])
    told = last(SMC(Path(round_normal(3, 0.3), Wide()), walk, betas=betas)(1000, rng=0)).normaliser
    assert not told.trusted
    assert "wider reference" in told.verdict


@pytest.mark.parametrize("odd", [math.nan, -math.inf, math.inf])
def test_degenerate_weights_are_one_line(odd):
    class Odd(Bell):
        def log_prob(self, x):
            return torch.full_like(x[:, 0], odd)

        score = None

    with pytest.raises(BadInput) as error:
        list(SMC(Path(round_normal(3), Odd()), walk)(50, rng=0))
    assert "\n" not in str(error.value)


def test_swaps_keep_pairs_of_draws():
    """Exact draws of a correlated normal law stay so: E[x y] within 4.5 SE after 20 swaps; islands stay apart."""
    path = Path(round_normal(2), Linked())
    energy, n = path.at(1.0), 20_000
    z = Rng(0).normal((n, 2), dtype=torch.float64)
    x = torch.stack([z[:, 0], 0.8 * z[:, 0] + 0.6 * z[:, 1]], 1)
    state = energy.state(x, sloped=False)
    moved = 0.0
    for k in range(20):
        state, swapped = exchange(energy, state, Rng(1).child(k))
        moved += float(swapped.double().mean())
    assert moved > 5
    product = state.x.prod(1)
    assert abs(float(product.mean()) - 0.8) < 4.5 * float(product.std()) / math.sqrt(n)
    assert torch.allclose(state.log_prob, energy.value(state.x))
    odd = energy.state(x[:9], sloped=True)
    apart, _ = exchange(energy, odd, Rng(2), islands=3)
    for island in range(3):
        rows = slice(3 * island, 3 * island + 3)
        assert torch.equal(apart.x[rows].sort(0).values, odd.x[rows].sort(0).values)


class Linked:
    event_shape = (2,)

    def log_prob(self, x):
        return -(x[:, 0] ** 2 - 1.6 * x[:, 0] * x[:, 1] + x[:, 1] ** 2) / 0.72


def test_bad_settings_are_refused():
    path = Path(round_normal(3), Bell())
    for options in ({"keep": 1.0}, {"moves": 0}, {"islands": 0}, {"betas": torch.tensor([0.0, 0.5])}):
        with pytest.raises(BadInput):
            SMC(path, mala, **options)
    with pytest.raises(BadInput, match="islands"):
        list(SMC(path, mala, islands=3)(100))
    assert math.isnan(last(SMC(path, mala, swaps=True, betas=RUNGS)(40, rng=0)).error)


@pytest.mark.slow
def test_many_wells_at_a_published_budget():
    """100 evaluations of 2,000 particles: mean |log Z error| of 10 seeds (.11 over 20; 14.99 in Sendera 2024)."""
    errors = []
    for seed in range(10):
        smc = SMC(Path(round_normal(32), Wells()), hmc(2), swaps=True)
        errors.append(abs(last(smc(2000, evaluations=100, rng=seed)).normaliser.log_z - 164.69568))
    assert sum(errors) / 10 < 0.2
