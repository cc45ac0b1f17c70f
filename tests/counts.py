"""Count with hooks what a model computes."""

from collections import Counter

from omni_clst.model.thinker import OmniThinker


class Counts(Counter):
    """Mel frames through the audio tower, tokens through the language model, rows through the head."""

    def __init__(self, model: OmniThinker):
        super().__init__()
        self.hooks = [
            model.audio_tower.register_forward_pre_hook(self._frames, with_kwargs=True),
            model.model.register_forward_pre_hook(self._tokens, with_kwargs=True),
            model.lm_head.register_forward_pre_hook(self._rows),
        ]

    def _frames(self, module, arguments, keywords):
        self["mel frames encoded"] += arguments[0].shape[-1]

    def _tokens(self, module, arguments, keywords):
        self["tokens through the model"] += keywords["inputs_embeds"].shape[:2].numel()

    def _rows(self, module, arguments):
        self["rows through the head"] += arguments[0].shape[:-1].numel()

    def remove(self) -> None:
        for hook in self.hooks:
            hook.remove()
