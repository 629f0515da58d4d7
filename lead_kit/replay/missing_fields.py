"""What a record lacks raises when it is read, so that nothing is computed from a value that nobody recorded.

RecordedGroup and RecordedRollout are the kit's Group and Rollout; a missing field is None inside. Whatever reads it
raises MissingField: an attribute, an index or an unpacking, in an estimator, a reward, or a function that these call.
"""

from collections.abc import Iterator

from lead_kit.method.advantages import Group
from lead_kit.method.rewards import Rollout


class MissingField(LookupError):
    """A function has read a field that the record lacks."""

    def __init__(self, field: str):
        super().__init__(f"the record has no {field}")
        self.field = field


def _present(value, field: str):
    if value is None:
        raise MissingField(field)
    return value


class _Recorded:
    """The part that both types share; placed before a named tuple whose missing fields are None."""

    __slots__ = ()

    def __getattribute__(self, name: str):
        value = super().__getattribute__(name)
        return value if name.startswith("_") or name not in type(self)._fields else _present(value, name)

    def __getitem__(self, index):
        values = super().__getitem__(index)
        names = self._fields[index]
        for value, name in zip(values, names, strict=True) if isinstance(index, slice) else [(values, names)]:
            _present(value, name)
        return values

    def __iter__(self) -> Iterator:
        return map(_present, super().__iter__(), self._fields)

    def _replace(self, **changes):
        return type(self)(**dict(zip(self._fields, tuple.__iter__(self), strict=True)) | changes)


class RecordedGroup(_Recorded, Group):
    """A Group of recorded rollouts, (groups, size)."""

    __slots__ = ()


class RecordedRollout(_Recorded, Rollout):
    """One recorded completion."""

    __slots__ = ()


class NoColumns(dict):
    """The problem's row of a recorded rollout: a record keeps none of its columns."""

    def __missing__(self, column: str):
        raise MissingField(column)

    def get(self, column: str, default=None):
        raise MissingField(column)
