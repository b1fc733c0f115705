"""Until all say ``streaming.testing.exploration``.

Owns:   nothing.
Never:  stays.
"""

from streaming.testing.exploration import Attempt as Attempt
from streaming.testing.exploration import Exploration as Exploration
from streaming.testing.exploration import Failure as Failure
from streaming.testing.exploration import Scenario as Scenario
from streaming.testing.exploration import attempt as attempt
from streaming.testing.exploration import explore as explore
from streaming.testing.exploration import replay as replay
from streaming.testing.exploration import signature as signature
