"""A vLLM server on other GPUs, by its address: requests, what it serves, and the completions of our prompts.

A prompt is sent as our own token ids with the mel features that we computed, so the server neither tokenizes nor decodes.
"""

import hashlib
import http.client
import json
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import torch

from ..data.encoder import Example, OmniEncoder
from ..errors import InputError
from ..model.engine import Completion
from ..model.sampling import Sampling
from ..model.vllm_engine import completion_of, sampling_settings

REQUESTS_AT_ONCE = 64  # of a process; the server's scheduler decides how many of them run
ANSWER_SECONDS = 1800  # after which a server counts as lost


class VLLMServer:
    """Requests to a server; every failure is one line with `start`, the command that starts such a server."""

    def __init__(self, address: str, start: str):
        self.address = address.rstrip("/")
        self.start = start
        # a proxy of the environment is for the internet
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str) -> dict:
        return self._answer(path, urllib.request.Request(self.address + path))

    def post(self, path: str, body: dict | None = None) -> dict:
        """The answer to a JSON object; {} for one without a body."""
        data = json.dumps(body or {}).encode()
        return self._answer(path, urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"}))

    def call_workers(self, method: str, **arguments: object) -> list:
        """The results of a method of the server's workers, which may be several."""
        return self.post("/collective_rpc", {"method": method, "kwargs": arguments})["results"]

    def _answer(self, path: str, request: urllib.request.Request) -> dict:
        try:
            with self._opener.open(request, timeout=ANSWER_SECONDS) as response:
                return json.loads(response.read() or b"{}")
        except urllib.error.HTTPError as error:
            raise InputError(
                f"vllm_server {self.address}: {path} failed: {_message(error)}; see its output, and start it with "
                f"`{self.start}`"
            ) from None
        except (OSError, http.client.HTTPException, ValueError) as error:  # the last: not JSON, so another program
            reason = getattr(error, "reason", None) or error
            raise InputError(
                f"vllm_server {self.address}: no answer ({reason}); start it with `{self.start}`, then this run again"
            ) from None

    def require_policy(self, needed: dict[str, object], longest: int) -> str:
        """Raise `InputError` unless the server's model has what is `needed` and room for prompt and completion together.

        Returns the type of its device.
        """
        served = self.call_workers("describe_policy")[0] | {"vllm": self.get("/version")["version"]}
        named = [name for name, value in needed.items() if served[name] != value]
        if served["max_model_len"] < longest:
            named, needed = [*named, "max_model_len"], {**needed, "max_model_len": f"{longest} or more"}
        if named:
            theirs, ours = (", ".join(f"{name} {values[name]}" for name in named) for values in (served, needed))
            raise InputError(
                f"vllm_server {self.address}: it serves {served['model']} with {theirs}, this run needs {ours}: start it "
                f"with `{self.start}`"
            )
        return served["device"]

    # The four methods that vLLM's own weight transfer calls.

    def init_weight_transfer_engine(self, init_info: dict) -> None:
        self.post("/init_weight_transfer_engine", {"init_info": init_info})

    def start_weight_update(self) -> None:
        self.post("/start_weight_update")

    def update_weights(self, update_info: dict | list[dict]) -> None:
        self.post("/update_weights", {"update_info": update_info})

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self.post("/finish_weight_update", {"weight_version": weight_version})

    def forget(self) -> None:
        """Empty the caches of prefixes, of clips and of clips' encodings, which belong to older weights."""
        if not self.post("/reset_prefix_cache")["success"]:
            raise InputError(
                f"vllm_server {self.address}: it is generating for someone else, so the cache of older weights cannot be "
                "emptied: give every run a server of its own"
            )
        self.post("/reset_mm_cache")
        self.post("/reset_encoder_cache")


class ServerEngine:
    """Generates with a server, as `VLLMEngine` does in the process."""

    def __init__(self, server: VLLMServer, encoder: OmniEncoder, sampling: Sampling):
        self.server = server
        self.encoder = encoder
        self.sampling = sampling

    def generate(self, examples: list[Example], seeds: list[int], n: int = 1) -> list[list[Completion]]:
        """`n` completions of every encoded prompt; a prompt's seed decides what is drawn for it when sampling."""
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            return list(pool.map(self._complete, examples, seeds, [n] * len(examples)))

    def _complete(self, example: Example, seed: int, n: int) -> list[Completion]:
        answer = self.server.post("/inference/v1/generate", self._request(example, seed, n))
        choices = sorted(answer["choices"], key=lambda choice: choice["index"])
        return [completion_of(self.encoder, choice["token_ids"], _log_probs(choice)) for choice in choices]

    def _request(self, example: Example, seed: int, n: int) -> dict:
        encoder = self.encoder
        settings = sampling_settings(self.sampling, seed, n, encoder.end_ids, encoder.placeholder_ids)
        request = {"token_ids": list(example.input_ids), "sampling_params": settings}
        if example.input_features is None:
            return request
        token, features = encoder.audio_token_id, example.input_features
        place = {"offset": example.input_ids.index(token), "length": example.input_ids.count(token)}
        clip = hashlib.sha256(features.numpy().tobytes()).hexdigest()
        parts = {"mm_hashes": clip, "mm_placeholders": place, "kwargs_data": packed_features(features)}
        return request | {"features": {name: {"audio": [value]} for name, value in parts.items()}}


def packed_features(features: torch.Tensor) -> str:
    """A clip's mel features (mel_bins, frames) as the server's audio tower takes them, bit for bit."""
    from vllm.entrypoints.scale_out.token_in_token_out.mm_serde import encode_mm_kwargs_item
    from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems

    frames = features.shape[1]
    inputs = {
        "input_audio_features": features,
        "audio_feature_lengths": torch.tensor([frames]),
        "feature_attention_mask": torch.ones(1, frames, dtype=torch.long),
    }
    of_clip = MultiModalFieldConfig.batched("audio", keep_on_cpu=True)
    fields = dict.fromkeys(inputs, of_clip) | {
        "input_audio_features": MultiModalFieldConfig.flat_from_sizes("audio", inputs["audio_feature_lengths"], dim=1)
    }
    return encode_mm_kwargs_item(MultiModalKwargsItems.from_hf_inputs(inputs, fields)["audio"][0])


def _log_probs(choice: dict) -> list[float]:
    """Those of the drawn tokens; none where nothing was drawn."""
    return [step["logprob"] for step in choice["logprobs"]["content"]] if choice["logprobs"] else []


def _message(error: urllib.error.HTTPError) -> str:
    """A server's own words about a request that failed, in one line."""
    text = error.read().decode(errors="replace")
    with suppress(ValueError, KeyError, TypeError):  # not an error of vLLM's own
        text = json.loads(text)["error"]["message"]
    return f"{error.code} {' '.join(text.split())[:300]}"
