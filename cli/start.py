"""Entry point of the program, which imports it with the garbage collector off."""

import gc


def main() -> None:
    """Run the program.

    Imported modules live until the end. Collecting garbage among them, during the imports and at exit, would take a
    quarter of a short command's time.
    """
    gc.disable()
    from .main import main as program

    gc.freeze()
    gc.enable()
    try:
        program()
    finally:
        gc.freeze()
