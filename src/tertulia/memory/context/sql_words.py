"""What queries of a model may be made of: parts of speech, functions and types.

The names of parts are those of sqlglot's classes. A function is on one of the lists only if it reads no
file, no table and no setting, waits for nothing, and cannot make much out of little.
"""

from typing import Final

_STRUCTURE: Final = (
    "Select Union Except Intersect Subquery With CTE TableAlias From Join Where Group Having Order Ordered "
    "Limit Offset Fetch LimitOptions Distinct Table Column Identifier Star Alias Literal Boolean Null Paren "
    "Tuple Rollup Cube GroupingSets Window WindowSpec Filter WithinGroup"
)
_OPERATORS: Final = (
    "And Or Not EQ NEQ GT GTE LT LTE NullSafeEQ NullSafeNEQ Is Between In Like ILike Escape Glob SimilarTo "
    "RegexpLike RegexpILike Exists Any All Add Sub Mul Div IntDiv Mod DPipe Neg BitwiseAnd BitwiseOr Case If "
    "Cast DataType DataTypeParam AtTimeZone Interval Var"
)
_NUMBERS: Final = "Round Abs Floor Ceil Pow Sqrt Ln Log Exp Sign Trunc Greatest Least Coalesce Nullif"
_TEXTS: Final = (
    "Lower Upper Length Trim Substring Replace StrPosition Left Right Initcap SplitPart Concat ConcatWs "
    "RegexpReplace JSONExtract JSONExtractScalar JSONBExtract JSONBExtractScalar JSONPath JSONPathRoot "
    "JSONPathKey JSONPathSubscript"
)
_TIMES: Final = (
    "Date Datetime Time TimeToStr StrToDate StrToTime TimestampTrunc DateTrunc Extract CurrentDate "
    "CurrentTime CurrentTimestamp TsOrDsToTimestamp ToChar"
)
_SUMS: Final = (
    "Count CountIf Sum Avg Min Max GroupConcat ArrayAgg JSONArrayAgg LogicalAnd LogicalOr Stddev StddevPop "
    "StddevSamp Variance VariancePop Corr PercentileCont PercentileDisc Median Mode RowNumber Rank DenseRank "
    "PercentRank CumeDist Ntile Lag Lead FirstValue LastValue NthValue"
)

_ALL: Final = (_STRUCTURE, _OPERATORS, _NUMBERS, _TEXTS, _TIMES, _SUMS, "Anonymous")

_OTHERS: Final = (
    "age btrim char_length date date_part datetime ifnull iif instr julianday ltrim make_date now rtrim "
    "strftime time timezone to_timestamp total typeof unixepoch width_bucket"
)
_OF_SQLITE: Final = (
    "-> ->> abs avg ceil ceiling coalesce concat concat_ws count cume_dist current_date current_time "
    "current_timestamp dense_rank exp first_value floor glob group_concat json_extract lag last_value lead "
    "length like ln log log10 lower max min mod nth_value ntile nullif percent_rank pow power rank replace "
    "round row_number sign sqrt string_agg substr substring sum trim trunc upper"
)
_TYPES: Final = (
    "BIGINT BOOLEAN CHAR DATE DECIMAL DOUBLE FLOAT INT INTERVAL JSON JSONB NCHAR NVARCHAR SMALLINT TEXT "
    "TIME TIMETZ TIMESTAMP TIMESTAMPTZ TINYINT UUID VARCHAR"
)

PARTS: Final = frozenset(" ".join(_ALL).split())
"""Classes of sqlglot."""
FUNCTIONS: Final = frozenset(_OTHERS.split())
"""Functions that sqlglot has no class for."""
SQLITE_FUNCTIONS: Final = FUNCTIONS | frozenset(_OF_SQLITE.split())
"""Functions that SQLite may be asked for, by its own names."""
TYPES: Final = frozenset(_TYPES.split())
"""Types that values may be made."""
