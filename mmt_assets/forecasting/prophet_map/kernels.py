"""Numba kernels: design, objective, solver and forecast of one series, looped over a batch.

One file on purpose: numba's disk cache looks only at the file of the function that was called, so a kernel
spread over several files would keep running old code after an edit. Nothing here starts threads and no
kernel is compiled with ``parallel=True``, hence the process may fork or spawn afterwards. The model and its
derivation are in the docstring of the package; references to Prophet's source stand at each term.

Parameters are one vector ``theta = [k, m, beta (K), delta (S)]`` in Prophet's scaled units.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

LINEAR, LOGISTIC, FLAT = 0, 1, 2  # prophet.stan: trend_indicator
CONVERGED, CONSTANT, SHORT, UNBOUNDED, ITERATION_LIMIT = 0, 1, 2, 3, 4
SCALE_OFF, SCALE_ON, SCALE_AUTO = 0, 1, 2

_VARIANCE_FLOOR = 1e-18  # (1e-9)^2: forecaster.py fit() sets sigma_obs = 1e-9 on a constant series
_TREND_PRIOR = 1 / 25.0  # prophet.stan: k, m ~ normal(0, 5)
_CAP_LIMIT = 1e60  # a capacity further than this from the values says nothing, and its square would overflow
_QUADRATIC_LIMIT = 100
_NONLINEAR_LIMIT = 400
_EXCESS_LIMIT = 3.0

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Model(NamedTuple):
    """What all series of a batch share."""

    growth: int
    n_changepoints: int
    changepoint_range: float
    tau: float
    seasonal: Floats  # distinct days x Fourier columns
    multiplicative: NDArray[np.bool_]  # K
    standardize: Integers  # regressors


class Rows(NamedTuple):
    """Rows of all series, one after the other."""

    offsets: Integers
    days: Integers
    day_index: Integers  # row of `Model.seasonal`
    values: Floats
    cap: Floats
    regressors: Floats


class Estimates(NamedTuple):
    """Arrays that the fit fills, one row per series."""

    k: Floats
    m: Floats
    sigma_obs: Floats
    beta: Floats
    delta: Floats
    changepoints: Floats
    n_changepoints: Integers
    y_scale: Floats
    start: Integers
    t_scale: Floats
    center: Floats
    spread: Floats
    status: Integers


class Problem(NamedTuple):
    """One series in scaled units: the `data` block of prophet.stan."""

    growth: int
    t: Floats
    y: Floats
    cap: Floats
    design: Floats  # K x rows
    multiplicative: NDArray[np.bool_]
    changepoints: Floats
    scales: Floats
    tau: float


@njit(cache=True, nogil=True)
def _curve(growth: int, t: float, k: float, m: float, delta: Floats, changepoints: Floats, count: int) -> float:
    """Trend before the link: flat m, linear kt + m, logistic k(t - m), plus sum delta_j (t - s_j)+."""
    if growth == FLAT:
        return m
    z = k * (t - m) if growth == LOGISTIC else k * t + m
    for j in range(count):
        if t <= changepoints[j]:
            break
        z += delta[j] * (t - changepoints[j])
    return z


@njit(cache=True, nogil=True)
def _sigmoid(z: float) -> float:
    if z >= 0:
        return 1 / (1 + np.exp(-z))
    e = np.exp(z)
    return e / (1 + e)


@njit(cache=True, nogil=True)
def _fill_trend(problem: Problem, theta: Floats, z: Floats) -> None:
    """`_curve` on every row in one sweep, carrying slope and intercept from changepoint to changepoint."""
    first = 2 + problem.scales.size
    slope, intercept, passed = theta[0], theta[1], 0
    if problem.growth == LOGISTIC:
        intercept = -theta[0] * theta[1]
    elif problem.growth == FLAT:
        slope = 0.0
    for i in range(problem.t.size):
        while passed < problem.changepoints.size and problem.t[i] > problem.changepoints[passed]:
            slope += theta[first + passed]
            intercept -= theta[first + passed] * problem.changepoints[passed]
            passed += 1
        z[i] = slope * problem.t[i] + intercept


@njit(cache=True, nogil=True)
def _fill_effects(problem: Problem, theta: Floats, factor: Floats, term: Floats) -> None:
    """1 + X_m beta and X_a beta on every row."""
    factor[:] = 1.0
    term[:] = 0.0
    for q in range(problem.scales.size):
        coefficient = theta[2 + q]
        into = factor if problem.multiplicative[q] else term
        for i in range(problem.t.size):
            into[i] += problem.design[q, i] * coefficient


@njit(cache=True, nogil=True)
def _evaluate(problem: Problem, theta: Floats, residual: Floats) -> float:
    """Fill y - trend * (1 + X_m beta) - X_a beta and return the sum of its squares."""
    rows = problem.t.size
    factor, term = np.empty(rows), np.empty(rows)
    _fill_trend(problem, theta, residual)
    _fill_effects(problem, theta, factor, term)
    squares = 0.0
    for i in range(rows):
        trend = residual[i]
        if problem.growth == LOGISTIC:
            trend = problem.cap[i] * _sigmoid(trend)
        residual[i] = problem.y[i] - trend * factor[i] - term[i]
        squares += residual[i] ** 2
    return squares


@njit(cache=True, nogil=True)
def _fill_jacobian(problem: Problem, theta: Floats, jacobian: Floats) -> None:
    """Fill `jacobian` (parameters x rows) with the derivatives of the fitted values at theta."""
    rows, columns = problem.t.size, problem.scales.size
    slope, trend, term = np.empty(rows), np.empty(rows), np.empty(rows)
    _fill_effects(problem, theta, slope, term)
    _fill_trend(problem, theta, trend)
    for i in range(rows):
        if problem.growth == LOGISTIC:
            share = _sigmoid(trend[i])
            trend[i] = problem.cap[i] * share
            slope[i] *= trend[i] * (1 - share)
            jacobian[0, i] = slope[i] * (problem.t[i] - theta[1])
            jacobian[1, i] = -slope[i] * theta[0]
        else:
            jacobian[0, i] = slope[i] * problem.t[i] if problem.growth == LINEAR else 0.0
            jacobian[1, i] = slope[i]
    for q in range(columns):
        for i in range(rows):
            jacobian[2 + q, i] = problem.design[q, i] * (trend[i] if problem.multiplicative[q] else 1.0)
    for j in range(problem.changepoints.size):
        for i in range(rows):
            jacobian[2 + columns + j, i] = slope[i] * max(problem.t[i] - problem.changepoints[j], 0.0)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _dot(x: Floats, y: Floats) -> float:
    """Sum of products, vectorised: the compiler chooses the order of summation, once for all."""
    total = 0.0
    for i in range(x.size):
        total += x[i] * y[i]
    return total


@njit(cache=True, nogil=True)
def _normal_equations(problem: Problem, jacobian: Floats, target: Floats, gram: Floats, projection: Floats) -> None:
    """Fill the lower triangle of JJ' and J target; the row of a changepoint is zero up to its day."""
    size, first = jacobian.shape[0], 2 + problem.scales.size
    begin = 0
    for a in range(size):
        if a >= first:
            while begin < problem.t.size and problem.t[begin] <= problem.changepoints[a - first]:
                begin += 1
        later = jacobian[a, begin:]
        projection[a] = _dot(later, target[begin:])
        for b in range(a + 1):  # changepoints ascend, so that of a is the later one
            gram[a, b] = _dot(later, jacobian[b, begin:])


@njit(cache=True, nogil=True)
def _noise_variance(squares: float, rows: int) -> float:
    """Minimise rows*log(s) + squares/(2 s^2) + 2 s^2 (sigma_obs ~ normal(0, 0.5)) over s; returns s^2."""
    return max(2 * squares / (rows + np.sqrt(rows * rows + 16 * squares)), _VARIANCE_FLOOR)


@njit(cache=True, nogil=True)
def _negative_log_posterior(problem: Problem, squares: float, variance: float, theta: Floats) -> float:
    """prophet.stan's model block, constants dropped as Stan's `~` drops them."""
    columns = problem.scales.size
    value = 0.5 * _TREND_PRIOR * (theta[0] ** 2 + theta[1] ** 2) + 2 * variance
    value += 0.5 * problem.t.size * np.log(variance) + squares / (2 * variance)
    for q in range(columns):
        value += 0.5 * (theta[2 + q] / problem.scales[q]) ** 2
    for j in range(2 + columns, theta.size):
        value += abs(theta[j]) / problem.tau
    return value


@njit(cache=True, nogil=True)
def _eliminate(matrix: Floats, smooth: int) -> None:
    """Cholesky of the first `smooth` columns in place; the rest becomes the Schur complement."""
    for i in range(matrix.shape[0]):
        least = max(1e-15 * matrix[i, i], _VARIANCE_FLOOR**2)  # columns alike up to rounding
        row = matrix[i, :smooth]
        for j in range(min(i, smooth)):
            row[j] = (row[j] - _dot(row[:j], matrix[j, :j])) / matrix[j, j]
        if i < smooth:
            matrix[i, i] = np.sqrt(max(matrix[i, i] - _dot(row[:i], row[:i]), least))
            continue
        for j in range(smooth, i + 1):
            matrix[i, j] -= _dot(row, matrix[j, :smooth])


@njit(cache=True, nogil=True)
def _solve_active(
    matrix: Floats, offset: int, right: Floats, active: Integers, count: int, factor: Floats, x: Floats
) -> None:
    """Solve matrix[active, active] x = right[active] by Cholesky (lower triangle, shifted by `offset`)."""
    for i in range(count):
        for j in range(i + 1):
            value = matrix[offset + active[i], offset + active[j]]
            for q in range(j):
                value -= factor[i, q] * factor[j, q]
            factor[i, j] = np.sqrt(max(value, 1e-30)) if i == j else value / factor[j, j]
        value = right[active[i]]
        for q in range(i):
            value -= factor[i, q] * x[q]
        x[i] = value / factor[i, i]
    for i in range(count - 1, -1, -1):
        value = x[i]
        for q in range(i + 1, count):
            value -= factor[q, i] * x[q]
        x[i] = value / factor[i, i]


@njit(cache=True, nogil=True)
def _most_violated(
    matrix: Floats, offset: int, linear: Floats, penalty: float, delta: Floats, sign: Floats
) -> tuple[int, float]:
    """Zero coefficient whose gradient exceeds the penalty most, and the sign it should take; -1 if none."""
    size = delta.size
    worst, direction, limit = -1, 0.0, penalty * (1 + 1e-10)
    for j in range(size):
        limit = max(limit, penalty + 1e-14 * abs(linear[j]))
    for j in range(size):
        if sign[j] != 0.0:
            continue
        gradient = -linear[j]
        for q in range(size):
            if delta[q] != 0.0:
                gradient += matrix[offset + max(j, q), offset + min(j, q)] * delta[q]
        if abs(gradient) > limit:
            limit, worst, direction = abs(gradient), j, -np.sign(gradient)
    return worst, direction


@njit(cache=True, nogil=True)
def _descend_active(matrix: Floats, offset: int, linear: Floats, penalty: float, delta: Floats, sign: Floats) -> None:
    """Minimise over the coefficients with a sign; one that would change sign stops at zero and leaves."""
    size = delta.size
    active = np.empty(size, np.int64)
    factor = np.empty((size, size))
    target = np.empty(size)
    right = np.empty(size)
    while True:
        count = 0
        for j in range(size):
            right[j] = linear[j] - penalty * sign[j]
            if sign[j] != 0.0:
                active[count] = j
                count += 1
        _solve_active(matrix, offset, right, active, count, factor, target)
        step, leaving = 1.0, -1
        for i in range(count):
            j = active[i]
            if sign[j] * target[i] < 0 and delta[j] / (delta[j] - target[i]) < step:
                step, leaving = delta[j] / (delta[j] - target[i]), j
        for i in range(count):
            delta[active[i]] += step * (target[i] - delta[active[i]])
        if leaving < 0:
            return
        delta[leaving] = 0.0
        sign[leaving] = 0.0


@njit(cache=True, nogil=True)
def _lasso(matrix: Floats, offset: int, linear: Floats, penalty: float, delta: Floats) -> None:
    """Minimise d'Md/2 - linear'd + penalty |d|_1 exactly by an active set, starting from `delta`."""
    sign = np.sign(delta)
    for _ in range(4 * delta.size + 4):  # each round adds one coefficient; rounding alone could cycle
        _descend_active(matrix, offset, linear, penalty, delta, sign)
        worst, direction = _most_violated(matrix, offset, linear, penalty, delta, sign)
        if worst < 0:
            return
        sign[worst] = direction


@njit(cache=True, nogil=True)
def _minimise_penalised(matrix: Floats, linear: Floats, smooth: int, penalty: float, theta: Floats) -> None:
    """Minimise theta'M theta/2 - linear'theta + penalty |delta|_1; overwrites matrix, linear and theta."""
    size = theta.size
    _eliminate(matrix, smooth)
    for j in range(smooth):
        linear[j] /= matrix[j, j]
        for i in range(j + 1, size):
            linear[i] -= matrix[i, j] * linear[j]
    if size > smooth:
        _lasso(matrix, smooth, linear[smooth:], penalty, theta[smooth:])
    for j in range(smooth - 1, -1, -1):
        value = linear[j]
        for i in range(j + 1, size):
            value -= matrix[i, j] * theta[i]
        theta[j] = value / matrix[j, j]


@njit(cache=True, nogil=True)
def _load(
    gram: Floats,
    projection: Floats,
    problem: Problem,
    variance: float,
    damping: float,
    theta: Floats,
    matrix: Floats,
    linear: Floats,
) -> None:
    """Quadratic model at one variance: J'J + variance * priors + proximal damping around theta."""
    size, smooth = theta.size, 2 + problem.scales.size
    largest = 0.0
    for j in range(size):
        largest = max(largest, gram[j, j])
    for a in range(size):
        for b in range(a + 1):
            matrix[a, b] = gram[a, b]
        # 1e-13: two changepoints on one day are the same column
        extra = damping * (1e-3 * largest + gram[a, a]) + (1e-13 * largest if a >= smooth else 0.0)
        linear[a] = projection[a] + extra * theta[a]
        if a < 2:  # noqa: PLR2004  k and m
            extra += variance * _TREND_PRIOR
        elif a < smooth:
            extra += variance / problem.scales[a - 2] ** 2
        matrix[a, a] += extra


@njit(cache=True, nogil=True)
def _next_log_variance(
    u: float, image: float, previous_u: float, previous_image: float, low: float, high: float
) -> float:
    """Secant step towards the fixed point of u -> image(u), kept inside the bracket."""
    step = image - u
    if u != previous_u:
        slope = (image - previous_image) / (u - previous_u)
        step /= 1 - min(max(slope, 0.0), 0.95)
    if low < u + step < high:
        return u + step
    return 0.5 * (low + high) if high - low < np.inf else image


@njit(cache=True, nogil=True)
def _fit_quadratic(problem: Problem, theta: Floats) -> tuple[float, int]:
    """Fitted values linear in theta: fixed point of the noise variance around one exact L1 solve."""
    rows, size = problem.t.size, theta.size
    jacobian, residual = np.empty((size, rows)), np.empty(rows)
    gram, matrix = np.empty((size, size)), np.empty((size, size))
    projection, linear = np.empty(size), np.empty(size)
    _fill_jacobian(problem, theta, jacobian)
    _normal_equations(problem, jacobian, problem.y, gram, projection)
    u = 0.0  # forecaster.py, calculate_initial_params(): sigma_obs = 1; from above, the widest mode comes first
    previous_u, previous_image, low, high = u, u, -np.inf, np.inf
    gap = np.inf
    for _ in range(_QUADRATIC_LIMIT):
        variance = np.exp(u)
        _load(gram, projection, problem, variance, 0.0, theta, matrix, linear)
        _minimise_penalised(matrix, linear, 2 + problem.scales.size, variance / problem.tau, theta)
        image = np.log(_noise_variance(_evaluate(problem, theta, residual), rows))
        gap = image - u
        if abs(gap) < 1e-10:  # noqa: PLR2004  the objective is off by rows * gap^2
            break
        if gap < 0:
            high = u
        else:
            low = u
        following = _next_log_variance(u, image, previous_u, previous_image, low, high)
        previous_u, previous_image, u = u, image, following
    variance = _noise_variance(_evaluate(problem, theta, residual), rows)
    return variance, CONVERGED if abs(gap) < 1e-6 else ITERATION_LIMIT  # noqa: PLR2004


@njit(cache=True, nogil=True)
def _line_search(
    problem: Problem, theta: Floats, target: Floats, value: float, trial: Floats, residual: Floats
) -> tuple[float, float, float]:
    """Shorten the step from theta to target until the objective falls; step 0 when it does not."""
    step = 1.0
    for _ in range(6):
        for j in range(theta.size):
            trial[j] = theta[j] + step * (target[j] - theta[j])
        squares = _evaluate(problem, trial, residual)
        variance = _noise_variance(squares, problem.t.size)
        found = _negative_log_posterior(problem, squares, variance, trial)
        if found <= value + 1e-13 * abs(value):
            return step, found, variance
        step *= 0.4
    return 0.0, value, 0.0


@njit(cache=True, nogil=True)
def _fit_nonlinear(problem: Problem, theta: Floats) -> tuple[float, int]:
    """Levenberg-Marquardt on the mean, closed form for the noise, exact active set for the L1."""
    rows, size = problem.t.size, theta.size
    jacobian, residual = np.empty((size, rows)), np.empty(rows)
    gram, matrix = np.empty((size, size)), np.empty((size, size))
    projection, linear = np.empty(size), np.empty(size)
    target, trial = np.empty(size), np.empty(size)
    squares = _evaluate(problem, theta, residual)
    variance = _noise_variance(squares, rows)
    value = _negative_log_posterior(problem, squares, variance, theta)
    damping, quiet, stale = 1e-3, 0, True
    for _ in range(_NONLINEAR_LIMIT):
        if stale:
            _fill_jacobian(problem, theta, jacobian)
            _evaluate(problem, theta, residual)
            for j in range(size):
                for i in range(rows):
                    residual[i] += jacobian[j, i] * theta[j]
            _normal_equations(problem, jacobian, residual, gram, projection)
        target[:] = theta
        _load(gram, projection, problem, variance, damping, theta, matrix, linear)
        _minimise_penalised(matrix, linear, 2 + problem.scales.size, variance / problem.tau, target)
        step, found, at_step = _line_search(problem, theta, target, value, trial, residual)
        stale = step > 0
        if not stale:
            damping = max(damping * 10, 1e-6)
            if damping > 1e6:  # noqa: PLR2004
                return variance, CONVERGED
            continue
        quiet = quiet + 1 if value - found < 1e-10 * (abs(found) + 1) else 0
        value, variance = found, at_step
        theta[:] = trial
        damping = damping * 0.2 if step == 1.0 else damping * 3
        if damping < 1e-9:  # noqa: PLR2004
            damping = 0.0
        if quiet == 2:  # noqa: PLR2004
            return variance, CONVERGED
    return variance, ITERATION_LIMIT


@njit(cache=True, nogil=True)
def _initial_trend(problem: Problem) -> tuple[float, float]:
    """forecaster.py: linear_growth_init, logistic_growth_init, flat_growth_init; returns k, m."""
    first, last = problem.y[0], problem.y[-1]
    if problem.growth == FLAT:
        return 0.0, problem.y.mean()
    if problem.growth == LINEAR:
        return last - first, first  # scaled time runs from 0 to 1
    low = max(0.01 * problem.cap[0], min(0.99 * problem.cap[0], first))
    high = max(0.01 * problem.cap[-1], min(0.99 * problem.cap[-1], last))
    first_ratio, last_ratio = problem.cap[0] / low, problem.cap[-1] / high
    if abs(first_ratio - last_ratio) <= 0.01:  # noqa: PLR2004
        first_ratio *= 1.05
    first_log, last_log = np.log(first_ratio - 1), np.log(last_ratio - 1)
    return first_log - last_log, first_log / (first_log - last_log)


@njit(cache=True, nogil=True)
def _place_changepoints(t: Floats, n_changepoints: int, changepoint_range: float, places: Floats) -> int:
    """forecaster.py: set_changepoints(); returns how many. None stands for Prophet's dummy at zero."""
    usable = int(np.floor(t.size * changepoint_range))
    count = min(n_changepoints, usable - 1)
    if count <= 0:
        return 0
    step = (usable - 1) / count
    for j in range(count):
        places[j] = t[usable - 1] if j == count - 1 else t[int(np.rint((j + 1) * step))]
    return count


@njit(cache=True, nogil=True)
def _standardisation(x: Floats, rule: int) -> tuple[float, float]:
    """forecaster.py: initialize_scales(); returns mean and sample standard deviation, or 0 and 1."""
    binary = True
    for value in x:
        if value not in (0.0, 1.0):
            binary = False
    if rule == SCALE_OFF or x.min() == x.max() or (binary and rule == SCALE_AUTO):
        return 0.0, 1.0
    mean = x.mean()
    spread = np.sqrt(((x - mean) ** 2).sum() / (x.size - 1))
    return (mean, spread) if spread > 0 else (0.0, 1.0)


@njit(cache=True, nogil=True)
def _fill_design(
    model: Model, rows: Rows, begin: int, end: int, center: Floats, spread: Floats, design: Floats
) -> None:
    """Fourier columns from the shared table, then regressors as (x - center) / spread."""
    fourier = model.seasonal.shape[1]
    for i in range(begin, end):
        for q in range(fourier):
            design[q, i - begin] = model.seasonal[rows.day_index[i], q]
        for q in range(rows.regressors.shape[1]):
            design[fourier + q, i - begin] = (rows.regressors[i, q] - center[q]) / spread[q]


@njit(cache=True, nogil=True)
def _problem(model: Model, rows: Rows, scales: Floats, s: int, y_scale: float, estimates: Estimates) -> Problem:
    """One series in scaled units, with the scales and changepoints that `estimates` holds for it."""
    begin, end = rows.offsets[s], rows.offsets[s + 1]
    t = (rows.days[begin:end] - estimates.start[s]) / estimates.t_scale[s]
    cap = np.empty(end - begin if model.growth == LOGISTIC else 0)
    for i in range(cap.size):
        cap[i] = min(max(rows.cap[begin + i] / y_scale, 1 / _CAP_LIMIT), _CAP_LIMIT)
    design = np.empty((scales.shape[1], end - begin))
    _fill_design(model, rows, begin, end, estimates.center[s], estimates.spread[s], design)
    count = 0 if model.growth == FLAT else estimates.n_changepoints[s]
    scale_row = scales[min(s, scales.shape[0] - 1)]
    y = rows.values[begin:end] / y_scale
    changepoints = estimates.changepoints[s, :count]
    return Problem(model.growth, t, y, cap, design, model.multiplicative, changepoints, scale_row, model.tau)


@njit(cache=True, nogil=True)
def _set_scales(model: Model, rows: Rows, s: int, estimates: Estimates) -> None:
    """forecaster.py: initialize_scales() and set_changepoints() of one series with at least one row."""
    begin, end = rows.offsets[s], rows.offsets[s + 1]
    largest = np.abs(rows.values[begin:end]).max()
    estimates.y_scale[s] = largest if largest > 0 else 1.0
    estimates.start[s] = rows.days[begin]
    estimates.t_scale[s] = max(rows.days[end - 1] - rows.days[begin], 1)
    for q in range(rows.regressors.shape[1]):
        center, spread = _standardisation(rows.regressors[begin:end, q], model.standardize[q])
        estimates.center[s, q] = center
        estimates.spread[s, q] = spread
    t = (rows.days[begin:end] - estimates.start[s]) / estimates.t_scale[s]
    estimates.n_changepoints[s] = _place_changepoints(
        t, model.n_changepoints, model.changepoint_range, estimates.changepoints[s]
    )


@njit(cache=True, nogil=True)
def _fit_series(model: Model, rows: Rows, scales: Floats, s: int, estimates: Estimates) -> None:
    """Maximum a posteriori estimate of one series."""
    count = rows.offsets[s + 1] - rows.offsets[s]
    if count == 0:
        estimates.status[s] = SHORT
        return
    _set_scales(model, rows, s, estimates)
    problem = _problem(model, rows, scales, s, estimates.y_scale[s], estimates)
    columns = problem.scales.size
    theta = np.zeros(2 + columns + problem.changepoints.size)
    theta[0], theta[1] = _initial_trend(problem)
    if model.growth != LOGISTIC and problem.y.min() == problem.y.max():
        variance, status = _VARIANCE_FLOOR, CONSTANT  # forecaster.py: fit(), the same shortcut
    elif model.growth != LOGISTIC and not model.multiplicative.any():
        variance, status = _fit_quadratic(problem, theta)
    else:
        variance, status = _fit_nonlinear(problem, theta)
    if status != CONSTANT and variance <= _VARIANCE_FLOOR * (1 + 1e-9):
        status = UNBOUNDED
    estimates.status[s] = SHORT if count == 1 else status
    estimates.k[s], estimates.m[s] = theta[0], theta[1]
    estimates.sigma_obs[s] = np.sqrt(variance)
    estimates.beta[s] = theta[2 : 2 + columns]
    estimates.delta[s, : problem.changepoints.size] = theta[2 + columns :]


@njit(cache=True, nogil=True)
def fit_range(model: Model, rows: Rows, scales: Floats, first: int, last: int, estimates: Estimates) -> None:
    """Fit the series first <= s < last of a batch into `estimates`."""
    for s in range(first, last):
        _fit_series(model, rows, scales, s, estimates)


@njit(cache=True, nogil=True)
def log_posterior_range(model: Model, rows: Rows, scales: Floats, estimates: Estimates, result: Floats) -> None:
    """Log posterior of every series at the parameters that `estimates` holds."""
    for s in range(result.size):
        if rows.offsets[s + 1] == rows.offsets[s]:
            result[s] = 0.0
            continue
        problem = _problem(model, rows, scales, s, estimates.y_scale[s], estimates)
        columns, count = problem.scales.size, problem.changepoints.size
        theta = np.empty(2 + columns + count)
        theta[0], theta[1] = estimates.k[s], estimates.m[s]
        theta[2 : 2 + columns] = estimates.beta[s]
        theta[2 + columns :] = estimates.delta[s, :count]
        squares = _evaluate(problem, theta, np.empty(problem.t.size))
        result[s] = -_negative_log_posterior(problem, squares, estimates.sigma_obs[s] ** 2, theta)


@njit(cache=True, nogil=True)
def _shock_moments(horizon: float, rate: float, scale: float, step: float) -> tuple[float, float]:
    """Variance and fourth cumulant of the future z, `horizon` days past the last row.

    forecaster.py, _make_trend_shift_matrix(): on each day a slope change happens with probability `rate`
    and is Laplace(0, scale); half of it counts on its own day, so that it moves z by (j + 1/2) steps j days
    later.
    """
    h2 = horizon * horizon
    second = horizon * (h2 / 3 - 1 / 12) * step**2
    fourth = horizon * (h2 * h2 / 5 - h2 / 6 + 7 / 240) * step**4
    return 2 * rate * scale**2 * second, (24 * rate - 12 * rate * rate) * scale**4 * fourth


@njit(cache=True, nogil=True)
def _bent(normal_quantile: float, fourth: float, variance: float) -> float:
    """Quantile in standard deviations, by Cornish-Fisher; the excess kurtosis is bounded to stay monotone."""
    if variance <= 0:
        return normal_quantile
    excess = min(fourth / variance**2, _EXCESS_LIMIT)
    return normal_quantile + excess / 24 * normal_quantile * (normal_quantile**2 - 3)


@njit(cache=True, nogil=True)
def _sigmoid_moments(z: float, root: float) -> tuple[float, float]:
    """Mean and variance of sigmoid(z + e), e ~ normal(0, root^2), by five-point Gauss-Hermite quadrature."""
    near, far = 1.355626179974266 * root, 2.8569700138728056 * root
    center, inner, outer = 8 / 15, 0.2220759220056126, 0.01125741132772072
    a, b, c, d, e = _sigmoid(z - far), _sigmoid(z - near), _sigmoid(z), _sigmoid(z + near), _sigmoid(z + far)
    mean = center * c + inner * (b + d) + outer * (a + e)
    low = outer * ((a - mean) ** 2 + (e - mean) ** 2) + inner * ((b - mean) ** 2 + (d - mean) ** 2)
    return mean, low + center * (c - mean) ** 2


@njit(cache=True, nogil=True)
def _linear_row(
    center: float,
    reach: float,
    z_variance: float,
    z_fourth: float,
    noise: float,
    normal_quantiles: Floats,
    quantiles: Floats,
) -> float:
    """Quantiles and sd where the deviation of z counts `reach` times: noise + slope changes, symmetric."""
    total = noise + reach**2 * z_variance
    sd = np.sqrt(total)
    for q in range(normal_quantiles.size):
        quantiles[q] = center + sd * _bent(normal_quantiles[q], reach**4 * z_fourth, total)
    return sd


@njit(cache=True, nogil=True)
def _logistic_row(
    center: float,
    reach: float,
    z: float,
    z_variance: float,
    z_fourth: float,
    noise: float,
    normal_quantiles: Floats,
    quantiles: Floats,
) -> float:
    """The same through the sigmoid, centred on its mean as forecaster.py, _logistic_uncertainty() does.

    A quantile joins that of the trend and that of the noise as root of the sum of squares: exact when
    either is alone.
    """
    root = np.sqrt(z_variance)
    mean, variance = _sigmoid_moments(z, root)
    middle = _sigmoid(z)
    for q in range(normal_quantiles.size):
        normal = normal_quantiles[q]
        tail = normal if reach >= 0 else -normal
        trend = reach * (_sigmoid(z + root * _bent(tail, z_fourth, z_variance)) - middle)
        away = np.sqrt(trend**2 + normal**2 * noise)
        quantiles[q] = center + reach * (middle - mean) + (away if normal > 0 else -away)
    return np.sqrt(noise + reach**2 * variance)


@njit(cache=True, nogil=True)
def _forecast_series(
    model: Model,
    rows: Rows,
    estimates: Estimates,
    s: int,
    normal_quantiles: Floats,
    mean: Floats,
    sd: Floats,
    quantiles: Floats,
) -> None:
    begin, end = rows.offsets[s], rows.offsets[s + 1]
    columns = estimates.beta.shape[1]
    design = np.empty((columns, end - begin))
    _fill_design(model, rows, begin, end, estimates.center[s], estimates.spread[s], design)
    y_scale, step, logistic = estimates.y_scale[s], 1 / estimates.t_scale[s], model.growth == LOGISTIC
    count = 0 if model.growth == FLAT else estimates.n_changepoints[s]
    delta, changepoints = estimates.delta[s, :count], estimates.changepoints[s, :count]
    # forecaster.py, _sample_uncertainty(): mean_delta, change_likelihood
    scale = np.abs(delta).mean() + 1e-8 if count > 0 else 0.0
    rate = min(count * step, 1.0)
    noise = estimates.sigma_obs[s] ** 2
    for i in range(begin, end):
        days = rows.days[i] - estimates.start[s]
        z = _curve(model.growth, days * step, estimates.k[s], estimates.m[s], delta, changepoints, count)
        factor, term = 1.0, 0.0
        for q in range(columns):
            effect = design[q, i - begin] * estimates.beta[s, q]
            if model.multiplicative[q]:
                factor += effect
            else:
                term += effect
        # stock Prophet lets a slope change reach a linear trend on its own day, a logistic one a day later
        horizon = days - estimates.t_scale[s] - (1 if logistic else 0)
        variance, fourth = _shock_moments(max(horizon, 0.0), rate, scale, step)
        if logistic:
            reach = factor * min(max(rows.cap[i] / y_scale, 1 / _CAP_LIMIT), _CAP_LIMIT)
            center = reach * _sigmoid(z) + term
            spread = _logistic_row(center, reach, z, variance, fourth, noise, normal_quantiles, quantiles[i])
        else:
            center = z * factor + term
            spread = _linear_row(center, factor, variance, fourth, noise, normal_quantiles, quantiles[i])
        mean[i], sd[i] = center * y_scale, spread * y_scale
        quantiles[i] *= y_scale


@njit(cache=True, nogil=True)
def forecast_range(
    model: Model,
    rows: Rows,
    estimates: Estimates,
    first: int,
    last: int,
    normal_quantiles: Floats,
    mean: Floats,
    sd: Floats,
    quantiles: Floats,
) -> None:
    """Forecast the series first <= s < last; `rows` are the days asked for."""
    for s in range(first, last):
        _forecast_series(model, rows, estimates, s, normal_quantiles, mean, sd, quantiles)
