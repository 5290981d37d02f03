"""How this process takes its leave: known to everything in the engine that goes on for longer."""


class Leaving:
    """Whether the process is about to end, and how soon."""

    def __init__(self) -> None:
        self.is_stopping = False
        """Nothing new is taken in, claimed or begun."""
        self.is_draining = False
        """Runs are handed over where their next step would begin."""
        self.is_closing = False
        """Those who follow a run have to go elsewhere now, wherever it is carried out."""

    def sends_away(self, *, is_ours: bool) -> bool:
        """Whether who follows a run has to go on following it elsewhere."""
        return self.is_closing or (self.is_draining and not is_ours)
