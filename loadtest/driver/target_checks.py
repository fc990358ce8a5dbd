"""Whether what was asked of a server can be, and what is to be said before it is."""

from loadtest.client.credentials import in_the_clear
from loadtest.client.target import FALLBACK_SIZE, Offer, check_ports
from loadtest.driver.prepare import Options
from loadtest.errors import ConfigurationError
from loadtest.scenario.scenario import image_weights

# Fields of a request's body that are told in another way, so that answers can be held against them
OWN_FIELDS = {
    "model": "name it with --model; --body model=null leaves it out",
    "n": "the scenario says how many images: images = ... in [request]",
    "size": "name it with --size; --body size=null leaves it out",
    "num_inference_steps": "name them with --steps",
    "stream": "answers are taken whole",
    "partial_images": "answers are taken whole",
}


def check_options(options: Options) -> list[str]:
    """What is to be said before anything is started.

    Raises:
        ConfigurationError: A port cannot be used, or a field of the body cannot be so.
    """
    own = {f"--set {name}": options.settings.get(name) for name in ("port", "metrics_port")}
    check_ports(
        {
            "--port": None if own["--set port"] else options.port,  # which --set overrides
            **{option: port for option, port in own.items() if isinstance(port, int)},
            "--metrics-port": options.metrics_port,
            "--web": options.web_port,
        }
    )
    if options.workers is not None and options.web_port == options.workers.port:
        raise ConfigurationError(
            f"--web and --master-bind-port name the same port, {options.web_port}"
        )
    _check_fields(options)
    address = options.address
    clear = None if address is None else in_the_clear(address, options.credentials)
    return [] if clear is None else [f"warning: {clear}"]


def _check_fields(options: Options) -> None:
    """Refuse fields of --body that would make what comes back something else than was asked for."""
    request, fields = options.scenario.request, options.fields
    for name, remedy in OWN_FIELDS.items():
        if fields.get(name) is not None:
            raise ConfigurationError(f"--body {name}: {remedy}")
    if fields.get("response_format") == "url":
        raise ConfigurationError(
            "--body response_format: images are taken as b64_json alone; null leaves it out"
        )
    if "prompt" in fields:
        raise ConfigurationError("--body prompt: every request needs one, and has its own")
    if "n" in fields and set(image_weights(request)) != {1}:
        raise ConfigurationError("--body n=null: the scenario asks for more than one image at once")
    if "size" in fields and request.size is None:
        raise ConfigurationError(
            "--body size=null: say with --size what the server makes, so that its images can be "
            "checked"
        )


def told_of(options: Options, offer: Offer) -> list[str]:
    """What was taken for granted of somebody's server, to be told to the user."""
    said = list(offer.said)
    if options.host is not None and not (options.scenario.request.size or offer.default_size):
        said.append(
            f"size: neither the scenario nor the server tells one, so {FALLBACK_SIZE} is asked "
            "for; --size chooses"
        )
    return said
