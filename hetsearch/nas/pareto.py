"""A whole front of MACs against reward in one search: NSGA-II ("A fast and elitist multiobjective genetic algorithm",
Deb et al., 2002), by pymoo."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import require_extra
from hetsearch.nas.config import ParetoConfig
from hetsearch.nas.costs import MACS, Budget, Path
from hetsearch.nas.paths import Paths
from hetsearch.nas.search import Found, Rewards


def pareto_search(paths: Paths, budget: Budget, rewards: Rewards, config: ParetoConfig, *, seed: int) -> Found:
    """NSGA-II within a budget.

    Args:
        paths: the architectures.
        budget: what each has to keep.
        rewards: measures.
        config: sizes.
        seed: of every draw.

    Raises:
        MissingExtra: pymoo is not installed.
        UsageError: nothing was found that keeps the budget.
    """
    require_pymoo()
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.crossover import Crossover
    from pymoo.core.mutation import Mutation
    from pymoo.core.problem import Problem
    from pymoo.core.repair import Repair
    from pymoo.core.sampling import Sampling
    from pymoo.optimize import minimize

    found = Found()

    class Search(Problem):  # type: ignore[misc]
        def _evaluate(self, x: NDArray[np.int64], out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            population = [_path(row) for row in x]
            found.measure(paths, population, rewards)
            macs = paths.costs.of(population)[:, MACS]
            out["F"] = np.column_stack([macs, [-found.rewards[path] for path in population]])

    class Draw(Sampling):  # type: ignore[misc]
        def _do(self, problem: Any, n_samples: int, *args: Any, random_state: Any = None, **kwargs: Any) -> Any:
            return np.array([paths.within(budget, random_state) for _ in range(n_samples)])

    class Cross(Crossover):  # type: ignore[misc]
        def _do(self, problem: Any, X: Any, *args: Any, random_state: Any = None, **kwargs: Any) -> Any:
            pairs = zip(X[0], X[1], strict=True)
            return np.array([[paths.crossed(_path(one), _path(other), random_state) for one, other in pairs]])

    class Mutate(Mutation):  # type: ignore[misc]
        def _do(self, problem: Any, X: Any, *args: Any, random_state: Any = None, **kwargs: Any) -> Any:
            return np.array([paths.mutated(_path(row), random_state, config.mutation) for row in X])

    class Keep(Repair):  # type: ignore[misc]
        def _do(self, problem: Any, X: Any, *args: Any, random_state: Any = None, **kwargs: Any) -> Any:
            kept = [paths.repaired(_path(row), budget, random_state) for row in X]
            return np.array([paths.within(budget, random_state) if path is None else path for path in kept])

    algorithm = NSGA2(
        pop_size=config.population,
        sampling=Draw(),
        crossover=Cross(2, 1),
        mutation=Mutate(),
        repair=Keep(),
        eliminate_duplicates=True,
    )
    problem = Search(n_var=len(paths.positions), n_obj=2, xl=0, xu=max(len(one.genes) for one in paths.positions))
    minimize(problem, algorithm, ("n_gen", config.generations), seed=seed)
    return found


def require_pymoo() -> None:
    """Refuse to begin without pymoo.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import pymoo  # noqa: F401
    except ModuleNotFoundError:
        raise require_extra("pymoo", "nas") from None


def front_of(paths: Paths, found: Found) -> list[Path]:
    """The architectures that no other beats in both MACs and reward, by MACs."""
    by_macs = sorted(found.rewards, key=lambda path: (paths.costs.of([path])[0, MACS], -found.rewards[path], path))
    front: list[Path] = []
    for path in by_macs:
        if not front or found.rewards[path] > found.rewards[front[-1]]:
            front.append(path)
    return front


def _path(row: NDArray[np.int64]) -> Path:
    return tuple(int(gene) for gene in row)
