"""Where the program starts: imports all of it with the garbage collector out of the way."""

import gc


def main() -> None:
    """Run the program.

    What is imported stays to the end. To look for garbage in it, while it is imported and once more when the program
    ends, would take a quarter of a short command's time.
    """
    gc.disable()
    from .main import main as program

    gc.freeze()
    gc.enable()
    try:
        program()
    finally:
        gc.freeze()
