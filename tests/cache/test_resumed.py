"""What a backup stores of the cache comes back, through JSON."""

import json

from kerasft.cache.resumed import Resumed


def test_through_json():
    for given in (Resumed(3), Resumed(3, [0, 1], {2: 1, 3: 0}, {5: 1}, "off")):
        assert Resumed.from_dict(json.loads(json.dumps(given.to_dict()))) == given
