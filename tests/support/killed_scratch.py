"""Makes a temporary folder with a file in it, says where, and waits to be killed."""

import time

from kerasft.export.scratch import take_scratch

if __name__ == "__main__":
    folder, _ = take_scratch()
    (folder / "calibration.npz").write_text("data")
    print(folder, flush=True)
    time.sleep(600)
