"""Image to inherent code to logits: a backbone and a linear classifier."""

import copy
from collections import OrderedDict
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from reid_lib.augment import normalise
from reid_lib.config import RunConfig
from reid_lib.engine.files import weights_files

ENCODING_BATCH = 128
TIMM = "timm/"  # begins the names of timm's models
HEADS = ("fc", "classifier", "head")  # what torchvision calls the layers after the pooling


class ReIDNet(nn.Module):
    """Map images to inherent codes, and codes to one logit per training person.

    The code is the output of global average pooling, which the paper calls pool5: 512 numbers for
    ResNet-18, 2,048 for ResNet-50.

    Args:
        backbone: the name of a torchvision classification model that pools globally; timm/NAME, a
            model of timm (an optional library); or any module that maps (B, 3, H, W) to a feature
            map (B, C, h, w), whose mean over positions is the code, or to codes (B, D).
        persons: P, the number of training persons.
        seed: seed of the random initial weights; the global random state is not changed.
        neck: "none", or "batchnorm" between code and classifier (Luo et al. 2019): losses on codes
            act before it, retrieval uses the codes after it.
        precision: "fp32" or "bf16", in which the backbone computes.
        stripes: S; the code is the mean of each of S horizontal stripes, S numbers per channel.
        pooled: use the mean over the stripes (the global code) for logits and retrieval.
    Raises:
        ValueError: there is no such model, or it returns neither a feature map nor codes.
        ModuleNotFoundError: the model is timm's, which is not installed.
    Example:
        >>> net = ReIDNet(nn.Conv2d(3, 8, 3), persons=5)  # a map of 8 channels
        >>> [tuple(made.shape) for made in net(torch.zeros(2, 3, 64, 32))]
        [(2, 8), (2, 5)]
    """

    def __init__(
        self,
        backbone: str | nn.Module,
        persons: int,
        seed: int = 0,
        neck: str = "none",
        precision: str = "fp32",
        stripes: int = 1,
        pooled: bool = False,
    ):
        super().__init__()
        self.precision = precision
        self.averaged = stripes if pooled else 1
        self.learned = None  # a part of the loss that is learned too, see `reid_lib.related`
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = _headless(backbone) if isinstance(backbone, str) else backbone
            backbone = backbone if isinstance(backbone, str) else type(backbone).__name__
            shape = tuple(_output(module, backbone))
            self.backbone = _pooled(module, backbone, shape)
            self.width = stripes * shape[1]
            if stripes > 1:
                _pool_stripes(self.backbone, backbone, stripes)
            width = self.width // self.averaged
            self.neck = nn.BatchNorm1d(width) if neck == "batchnorm" else nn.Identity()
            self.classifier = nn.Linear(width, persons)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (B, 3, H, W) float to codes (B, D) and logits (B, P), both float32."""
        bf16 = self.precision == "bf16"
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            codes = self.backbone(images)
        codes = codes.float()
        return codes, self.classifier(self.neck(self.global_codes(codes)))

    @torch.no_grad()
    def retrieval_codes(self, codes: Tensor) -> Tensor:
        """(N, D): the codes used for retrieval, after the batch-norm neck, if any."""
        return copy.deepcopy(self.neck).eval()(self.global_codes(codes))

    def global_codes(self, codes: Tensor) -> Tensor:
        """(N, D): the mean over the stripes where retrieval takes it, else the codes."""
        if self.averaged == 1:
            return codes
        return codes.unflatten(1, (-1, self.averaged)).mean(2)


def network_of(config: RunConfig, persons: int) -> ReIDNet:
    """Build the network that a configuration names, with its random initial weights.

    Args:
        config: the keys of the network, its seed and its precision are used.
        persons: P, the number of training persons.
    Returns:
        The network, without what its loss may learn (`reid_lib.related.learned_module`).
    """
    pooling = config.stripes, config.setting == "aligned"
    return ReIDNet(config.backbone, persons, config.seed, config.neck, config.precision, *pooling)


@torch.no_grad()
def encode(net: ReIDNet, pixels: Tensor, rows: Tensor | None = None) -> Tensor:
    """Compute the codes of images in evaluation mode, without augmentation.

    Args:
        net: not changed; a copy with folded batch norm is used, in the network's precision.
        pixels: (M, 3, H, W) uint8.
        rows: (N,) int, which images and in which order; all of them unless given.
    Returns:
        (N, D) float32, on the network's device.
    """
    kind = torch.bfloat16 if net.precision == "bf16" else torch.float32
    backbone, device = folded(net).to(kind), net.classifier.weight.device
    codes = []
    for part in (torch.arange(len(pixels)) if rows is None else rows).split(ENCODING_BATCH):
        images = normalise(pixels[part].to(device)).to(kind)
        codes.append(backbone(images).float())
    return torch.cat(codes)


def find_weights(backbone: str, weights: Path | None) -> Path:
    """Find the file of ImageNet weights for a backbone: the user's, a cached one, or a download.

    Args:
        backbone: a torchvision model, or timm/NAME, which is not downloaded.
        weights: a file, a folder, or None. In a folder the file with torchvision's name is taken,
            otherwise the only one whose name begins with the backbone's and `_`, `-` or `.`.
    Returns:
        The path of a file that exists.
    Raises:
        ValueError: there is none; it says which file was wanted, where it looked, how to get it.
    """
    theirs, url = backbone.startswith(TIMM), f"{backbone}.safetensors"
    if not theirs:
        entries = torchvision.models.get_model_weights(backbone)
        url = next((e for e in entries if e.name == "IMAGENET1K_V1"), entries.DEFAULT).url
    name = Path(url).name
    cache = Path(torch.hub.get_dir()) / "checkpoints" / name
    if weights is not None or theirs:
        found = weights or cache
        if found.is_dir():
            found, others = found / name, weights_files(found, backbone)
            if not found.is_file() and len(others) == 1:
                found = others[0]
        if not found.is_file():
            raise ValueError(
                f"no ImageNet weights for {backbone}: looked for {found}. "
                f"Download {url} and pass the file or its folder as WEIGHTS."
            )
        return found
    if not cache.is_file():
        cache.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, cache, name.rsplit("-")[-1].split(".")[0])
        except (OSError, RuntimeError) as error:
            raise ValueError(
                f"no ImageNet weights for {backbone}: looked for {cache} and could not download "
                f"{url} ({error}). Download that file by other means and pass it or its "
                "folder as WEIGHTS."
            ) from None
    return cache


def load_weights(net: ReIDNet, file: Path) -> None:
    """Load a state dict into the backbone of `net`; a head in the file is ignored.

    Args:
        net: changed in place.
        file: a torch archive or safetensors, with the library's keys or those that a run saved.
    Raises:
        ValueError: the file is not an archive of tensors, lacks a tensor, or a shape differs.
    """
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, pickle, zipfile and safetensors each raise their own
        raise ValueError(f"{file} cannot be read as weights ({error})") from None
    backbone = getattr(net.backbone, "feature_map", net.backbone)
    own, saved = backbone.state_dict(), ("backbone.", "feature_map.")
    state = {k.removeprefix(saved[0]).removeprefix(saved[1]): v for k, v in state.items()}
    # num_batches_tracked is only a counter; older files lack it.
    missing = sorted(k for k in own.keys() - state.keys() if not k.endswith("num_batches_tracked"))
    differ = sorted(k for k in own.keys() & state.keys() if own[k].shape != state[k].shape)
    if missing or differ:
        raise ValueError(
            f"{file} does not fit this backbone: {len(missing)} tensors missing {missing[:3]}, "
            f"{len(differ)} of another shape {differ[:3]}; was it saved from another backbone?"
        )
    backbone.load_state_dict({k: state[k] for k in own.keys() & state.keys()}, strict=False)


def folded(net: ReIDNet) -> nn.Module:
    """Copy the backbone for evaluation, with batch norm folded into the preceding convolutions.

    The codes are the same up to rounding, in less time. A backbone that torch.fx cannot trace is
    copied unchanged.
    """
    backbone = copy.deepcopy(net.backbone).eval()
    try:
        return fuse(backbone, inplace=True)
    except (torch.fx.proxy.TraceError, NotImplementedError):
        return backbone


@torch.no_grad()
def feature_maps(net: ReIDNet, images: Tensor) -> Tensor:
    """Compute the last feature map f before pooling, whose mean over positions x is the code.

        code = 1/(hw) sum_x f(x)

    Args:
        net: not changed; a copy in evaluation mode is used.
        images: (B, 3, H, W) float, as the network takes them.
    Returns:
        (B, D, h, w): f; in ResNets one position per 32 pixels.
    Raises:
        ValueError: no map with several positions has the code as its mean, because the network does
            more than average it or the images are too small; the message names the backbone.
    """
    backbone = copy.deepcopy(net.backbone).eval()
    maps = []

    def keep(module, given, made):
        if isinstance(made, Tensor) and made.ndim == 4 and made.shape[1] == net.width:
            maps.append(made)

    for module in backbone.modules():
        module.register_forward_hook(keep)
    codes = backbone(images)
    for found in maps:
        pooled = found.mean((2, 3))
        if found[0, 0].numel() > 1 and torch.allclose(pooled, codes, rtol=1e-3, atol=1e-5):
            return found
    raise ValueError(
        f"{type(backbone).__name__} has no feature map with several positions whose mean is the "
        f"code for images of {images.shape[2]} x {images.shape[3]} pixels; use larger images, or a "
        "backbone such as resnet18, resnet50 or mobilenet_v2"
    )


def _headless(backbone: str) -> nn.Module:
    if backbone.startswith(TIMM):
        import timm

        if not timm.is_model(backbone.removeprefix(TIMM)):
            raise ValueError(f"timm has no model {backbone!r}; try timm/resnet18")
        return timm.create_model(backbone.removeprefix(TIMM), num_classes=0, global_pool="")
    if backbone not in torchvision.models.list_models(module=torchvision.models):
        raise ValueError(f"torchvision has no classification model {backbone!r}; try resnet18")
    options = {"aux_logits": False} if backbone in ("googlenet", "inception_v3") else {}
    net = torchvision.models.get_model(backbone, weights=None, **options)
    head = next((name for name in HEADS if hasattr(net, name)), None)
    if head is None:
        raise ValueError(f"{backbone} has no global average pooling before its head; try a ResNet")
    setattr(net, head, nn.Identity())
    if isinstance(getattr(net, "avgpool", None), nn.AdaptiveAvgPool2d):
        net.avgpool = nn.AdaptiveAvgPool2d(1)  # VGG and AlexNet pool to 7 x 7
    given = []
    hook = getattr(net, head).register_forward_pre_hook(lambda _, x: given.append(x[0]))
    _output(net, backbone)
    hook.remove()
    if given[0].ndim == 4:  # not pooled yet
        setattr(net, head, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    return net


def _pooled(net: nn.Module, backbone: str, shape: tuple[int, ...]) -> nn.Module:
    """The module itself if it returns codes; with global average pooling if it returns a map."""
    if len(shape) == 2:
        return net
    if len(shape) != 4:
        raise ValueError(f"{backbone} returns {shape}; expected codes (B, D) or a map (B, C, h, w)")
    parts = {"feature_map": net, "pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    return nn.Sequential(OrderedDict(parts))


def _pool_stripes(net: nn.Module, backbone: str, stripes: int) -> None:
    """Let the last global pooling return one mean per stripe."""
    pools = [module for module in net.modules() if isinstance(module, nn.AdaptiveAvgPool2d)]
    if not pools:
        raise ValueError(f"{backbone} has no pooling layer to cut into stripes; try a ResNet")
    pools[-1].output_size = (stripes, 1)
    pools[-1].register_forward_pre_hook(_EnoughRows(stripes))


class _EnoughRows:
    """Refuses a feature map with fewer rows than stripes, of which some would be equal."""

    def __init__(self, stripes: int):
        self.stripes = stripes

    def __call__(self, module: nn.Module, given: tuple[Tensor]) -> None:
        if given[0].shape[2] < self.stripes:
            raise ValueError(
                f"stripes is {self.stripes}, but the last feature map has {given[0].shape[2]} "
                "rows; expected no more stripes than rows: set a larger image_size"
            )


@torch.no_grad()
def _output(net: nn.Module, backbone: str) -> torch.Size:
    try:
        shape = net.eval()(torch.zeros(1, 3, 128, 64)).shape
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"{backbone} does not accept images of 128 x 64 pixels ({error}); try a ResNet"
        ) from None
    net.train()
    return shape
