"""The catalog of a campaign: DuckLake tables behind typed rows.

`catalog` opens and writes · `reader` asks · `rows` and `round_rows` are the tables · `views` the questions
that engineers ask · `schema` makes them · `columns` turns Python into SQL types and back · `maintenance` and
`checking` care for it · `outcomes` keeps count · `places` finds it: a `location` is `metadata` (SQLite, or
`postgres`) and `data_files` (a folder or S3) · below them are `statements`, `transactions`, `complaints` and
`connection`.
"""

from infra.catalog.catalog import Catalog
from infra.catalog.location import CatalogLocation
from infra.catalog.round_rows import (
    EvaluationRow,
    LineageRow,
    ModelRow,
    SftExampleRow,
    StageRow,
    StepPairRow,
    TrainingCurveRow,
)
from infra.catalog.rows import (
    DropRow,
    NodeRow,
    ProblemRow,
    RoundRow,
    Row,
    ShardRow,
    ShardStatus,
    TrajectoryRow,
    TreeRow,
)
from infra.catalog.schema import SCHEMA_VERSION

__all__ = [
    "SCHEMA_VERSION",
    "Catalog",
    "CatalogLocation",
    "DropRow",
    "EvaluationRow",
    "LineageRow",
    "ModelRow",
    "NodeRow",
    "ProblemRow",
    "RoundRow",
    "Row",
    "SftExampleRow",
    "ShardRow",
    "ShardStatus",
    "StageRow",
    "StepPairRow",
    "TrainingCurveRow",
    "TrajectoryRow",
    "TreeRow",
]
