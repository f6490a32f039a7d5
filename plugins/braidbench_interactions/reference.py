"""The reference estimator: equation 3.4 of the thesis, with its sign mended, as one conic program.

Slow and independent of the exact solvers: what the tests compare them with, and the estimator ``cvx`` of the thesis
(3.2.1) when a conic solver is what somebody wants to use. The program is vectorised: one variable for each cell that
can have mass and sparse matrices for the sums, so that the time is the solver's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from braidbench.errors import UsageError
from braidbench_interactions.certificate import dual_value, feasible_coupling, feasible_potentials, primal_value
from braidbench_interactions.decomposition import PID, assemble
from braidbench_interactions.joint import FloatArray, check_joint

_ABSENT = -40.0
"""ln of the weight given to labels that a value never has: nothing in any constraint, and finite."""


def pid_cvx(p: ArrayLike, base: float = 2, solver: str = "CLARABEL") -> PID:
    """The decomposition of p[x1, x2, y] by a conic solver, with the certificate that its answer yields.

    The solver's primal point is rounded into Δ_p and its multipliers are shifted until they are feasible, so that the
    values enclose the optimum however accurate the solver was. No other solver is tried when this one fails.

    Args:
        p: as of :func:`braidbench_interactions.pid`.
        base: as of :func:`braidbench_interactions.pid`.
        solver: any that cvxpy has installed and that handles exponential cones: CLARABEL, SCS, ECOS, MOSEK, …

    Raises:
        UsageError: a bad ``p``, a solver that is not installed, or one that failed.

    Warns:
        UncertifiedWarning: the gap is above 1e-8 nats, as it is with most solvers at their default tolerances.
    """
    import cvxpy

    name = solver.upper()
    if name not in cvxpy.installed_solvers():
        raise UsageError(f"solver {solver!r} is not installed; installed: {', '.join(cvxpy.installed_solvers())}")
    joint = check_joint(p)
    first, second = joint.sum(1), joint.sum(0)
    support = (first > 0)[:, None] & (second > 0)[None]
    x1, x2, y = np.nonzero(support)
    rows1, sums1, target1 = _incidence(x1, y, first)
    rows2, sums2, target2 = _incidence(x2, y, second)
    pair, pairs = _number(x1 * joint.shape[1] + x2)

    q = cvxpy.Variable(len(y))
    to_pair = _matrix(pair, pairs)
    of_pair = to_pair.T @ (to_pair @ q)  # q(x1, x2), once for every y
    fits = [sums1 @ q == target1, sums2 @ q == target2]
    problem = cvxpy.Problem(cvxpy.Minimize(cvxpy.sum(cvxpy.rel_entr(q, of_pair))), fits)
    try:
        problem.solve(solver=name)
    except (cvxpy.SolverError, ValueError, ArithmeticError) as error:
        raise UsageError(f"solver {name} failed on a joint of shape {joint.shape}: {error}") from error
    if q.value is None or fits[0].dual_value is None:
        raise UsageError(f"solver {name} found no solution for a joint of shape {joint.shape}: {problem.status}")

    found = np.zeros(joint.shape)
    found[x1, x2, y] = q.value
    lam = np.full(first.shape, _ABSENT)
    mu = np.full(second.shape, _ABSENT)
    # The multipliers of the sums are the potentials, but for the sign of cvxpy's convention.
    lam[rows1] = -fits[0].dual_value
    mu[rows2] = -fits[1].dual_value
    mu = np.where(second > 0, mu, _ABSENT - lam.max(0))
    lam = np.where(first > 0, lam, _ABSENT - mu.max(0))
    lam = feasible_potentials(lam, mu)
    found = feasible_coupling(found, first, second)
    return assemble(
        joint[None],
        (first[None], second[None]),
        primal_value(found)[None],
        dual_value(lam, mu, first, second)[None],
        (lam[None], mu[None]),
        np.array([problem.solver_stats.num_iters or 0], dtype=np.int64),
        base,
        name.lower(),
        found[None],
    )[0]


def _number(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Each key's place among the distinct keys, and how many these are."""
    distinct, place = np.unique(keys, return_inverse=True)
    return place, len(distinct)


def _matrix(group: NDArray[np.int64], groups: int):  # type: ignore[no-untyped-def]  # a scipy matrix, which is untyped
    """The 0/1 matrix that sums a vector by group."""
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(group)), (group, np.arange(len(group)))), shape=(groups, len(group)))


def _incidence(x: NDArray[np.int64], y: NDArray[np.int64], table: FloatArray):  # type: ignore[no-untyped-def]
    """The (x, y) pairs that have mass, the matrix that sums q to them, and what the sums must be."""
    group, groups = _number(x * table.shape[1] + y)
    places = np.unique(x * table.shape[1] + y)
    rows = (places // table.shape[1], places % table.shape[1])
    return rows, _matrix(group, groups), table[rows]
