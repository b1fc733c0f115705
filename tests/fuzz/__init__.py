import pytest

# They assert on behalf of tests, which are to say what was compared.
pytest.register_assert_rewrite("tests.fuzz.machine")
