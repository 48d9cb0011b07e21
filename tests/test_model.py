"""Codes are the globally pooled features, and weights are never silently random."""

import copy

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from reid_lib.augment import normalise
from reid_lib.model import ReIDNet, encode, feature_maps, find_weights, load_weights


@pytest.mark.parametrize(
    "backbone, width",
    [("resnet18", 512), ("resnet50", 2048), ("mobilenet_v2", 1280), ("squeezenet1_1", 512)],
)
def test_codes_and_logits_have_the_papers_shapes(backbone, width):
    net = ReIDNet(backbone, persons=7)
    codes, logits = net(torch.zeros(2, 3, 128, 48))
    assert net.width == width
    assert (codes.shape, logits.shape) == ((2, width), (2, 7))


def test_a_code_is_the_mean_of_the_last_feature_map():
    net = ReIDNet("resnet18", 3).eval()
    body = torch.nn.Sequential(*list(net.backbone.children())[:-2])
    images = torch.randn(2, 3, 128, 48, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(net(images)[0], body(images).mean((2, 3)))


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "mobilenet_v2", "shufflenet_v2_x0_5"])
def test_the_mean_of_the_feature_maps_over_the_places_is_the_code(backbone):
    net = ReIDNet(backbone, 3)  # in training mode, where another batch gives other codes
    images = torch.randn(2, 3, 128, 48, generator=torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    maps = feature_maps(net, images)
    assert maps.shape == (2, net.width, 4, 2)
    assert net.training and not maps.requires_grad
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
    torch.testing.assert_close(maps.mean((2, 3)), net.eval()(images)[0])
    assert maps.std((2, 3)).max() > 0


def test_a_network_without_such_a_map_is_refused_by_name():
    images = torch.randn(1, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    net = ReIDNet("resnet18", 3)
    net.backbone.avgpool = torch.nn.AdaptiveMaxPool2d(1)
    with pytest.raises(ValueError, match=r"ResNet has no feature map .* 64 x 32 pixels"):
        feature_maps(net, images)
    with pytest.raises(ValueError, match="32 x 32 pixels; use larger images"):
        feature_maps(ReIDNet("resnet18", 3), images[:, :, :32])


def test_the_seed_decides_the_weights_and_global_state_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = (ReIDNet("squeezenet1_1", 3, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    for a, b, c in zip(first.parameters(), second.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert a.std() == 0 or not torch.equal(a, c)


@pytest.mark.parametrize("backbone", ["resnet19", "vit_b_16", "maxvit_t"])
def test_a_backbone_without_global_pooling_is_refused_by_name(backbone):
    with pytest.raises(ValueError, match=backbone):
        ReIDNet(backbone, 3)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_module_that_returns_a_map_is_pooled_and_one_that_returns_codes_is_kept(tmp_path, suffix):
    images = torch.randn(2, 3, 65, 32, generator=torch.Generator().manual_seed(0))
    maps = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU())
    net = ReIDNet(maps, 5, stripes=2).eval()
    torch.testing.assert_close(net(images)[0].view(2, 8, 2).mean(2), maps(images).mean((2, 3)))
    net = ReIDNet(maps, 5).eval()
    torch.testing.assert_close(net(images)[0], maps(images).mean((2, 3)))
    torch.testing.assert_close(feature_maps(net, images), maps(images))
    vectors = torch.nn.Sequential(*maps, torch.nn.AdaptiveMaxPool2d(1), torch.nn.Flatten())
    assert torch.equal(ReIDNet(vectors, 5).eval()(images)[0], vectors(images))
    for states in (maps.state_dict(), net.state_dict()):  # as its library saves it, as a run does
        file, other = tmp_path / f"w{suffix}", ReIDNet(copy.deepcopy(maps), 5)
        torch.nn.init.zeros_(other.backbone.feature_map[0].weight)
        torch.save(states, file) if suffix == ".pth" else save_file(states, file)
        load_weights(other, file)
        assert torch.equal(other.eval()(images)[0], net(images)[0])


def test_a_module_that_returns_tokens_or_takes_other_images_is_refused():
    with pytest.raises(ValueError, match=r"Flatten returns \(1, 3, 8192\); expected codes"):
        ReIDNet(torch.nn.Flatten(2), 3)
    with pytest.raises(ValueError, match="Linear does not accept images of 128 x 64 pixels"):
        ReIDNet(torch.nn.Linear(3, 3), 3)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_of_a_torchvision_model_are_loaded_without_their_head(tmp_path, suffix):
    theirs = torchvision.models.squeezenet1_1(weights=None).state_dict()
    file = tmp_path / f"weights{suffix}"
    torch.save(theirs, file) if suffix == ".pth" else save_file(theirs, file)
    net = ReIDNet("squeezenet1_1", 3)
    load_weights(net, file)
    for name, value in net.backbone.state_dict().items():
        assert torch.equal(value, theirs[name])


def test_a_file_that_is_no_weights_or_of_another_network_is_refused(tmp_path):
    net = ReIDNet("squeezenet1_1", 3)
    file = tmp_path / "weights.pth"
    file.write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"weights\.pth cannot be read as weights"):
        load_weights(net, file)
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), file)
    words = r"weights\.pth does not fit this backbone: .* from another backbone"
    with pytest.raises(ValueError, match=words):
        load_weights(net, file)


class Hostile:
    def __reduce__(self):
        return exec, ("raise SystemExit('code in a weights file was run')",)


def test_code_in_a_weights_file_is_not_run(tmp_path):
    file = tmp_path / "weights.pth"
    torch.save({"conv1.weight": Hostile()}, file)
    with pytest.raises(ValueError, match="cannot be read as weights"):
        load_weights(ReIDNet("squeezenet1_1", 3), file)


def test_missing_weights_name_the_file_the_place_and_the_way_to_get_it(tmp_path, monkeypatch):
    with pytest.raises(
        ValueError, match=rf"looked for {tmp_path}/resnet18-\w+\.pth. Download http"
    ):
        find_weights("resnet18", tmp_path)
    with pytest.raises(ValueError, match=r"looked for .*mine\.pth.*WEIGHTS"):
        find_weights("resnet18", tmp_path / "mine.pth")

    def no_network(*_):
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(ValueError, match=r"looked for .*resnet18.*no network.*WEIGHTS"):
        find_weights("resnet18", None)


def test_weights_of_timm_are_found_but_not_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    words = r"no ImageNet weights for timm/tiny: looked for .*tiny\.safetensors. Download timm/tiny"
    with pytest.raises(ValueError, match=words):
        find_weights("timm/tiny", None)
    for name in ("tiny.safetensors", "tiny.in1k.bin"):
        (tmp_path / name).touch()
        assert find_weights("timm/tiny", tmp_path) == tmp_path / name
        (tmp_path / name).unlink()


def test_weights_are_found_in_a_folder_by_torchvisions_name(tmp_path):
    file = tmp_path / "resnet18-f37072fd.pth"
    file.touch()
    assert find_weights("resnet18", tmp_path) == file
    assert find_weights("resnet18", file) == file


def test_codes_used_for_retrieval_are_those_after_the_neck_in_evaluation_mode():
    net = ReIDNet("squeezenet1_1", 3, neck="batchnorm").train()
    for _ in range(3):
        net(torch.rand(8, 3, 64, 64))
    before = copy.deepcopy(net.state_dict())
    codes = torch.rand(5, 512)
    neck = net.neck
    expected = (codes - neck.running_mean) / (neck.running_var + neck.eps).sqrt()
    expected = expected * neck.weight + neck.bias
    assert torch.allclose(net.retrieval_codes(codes), expected, atol=1e-5)
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())
    assert ReIDNet("squeezenet1_1", 3).retrieval_codes(codes).equal(codes)


def test_stripes_are_means_of_parts_of_the_map_and_their_mean_is_the_global_code():
    images = torch.randn(2, 3, 128, 64, generator=torch.Generator().manual_seed(0))
    plain, striped, pooled = (
        ReIDNet("resnet18", 5, **options).eval()
        for options in ({}, {"stripes": 4}, {"stripes": 4, "pooled": True})
    )
    codes, logits = (net(images)[0] for net in (plain, striped)), pooled(images)[1]
    whole, parts = codes
    assert parts.shape == (2, 4 * 512) and striped.classifier.in_features == 4 * 512
    assert torch.allclose(parts.view(2, 512, 4).mean(2), whole, atol=1e-5)
    kept = feature_maps(plain, images).mean(3)  # one row of the map per stripe
    assert torch.allclose(parts.view(2, 512, 4), kept, atol=1e-5)
    assert pooled.classifier.in_features == 512 and logits.shape == (2, 5)
    assert torch.allclose(pooled.retrieval_codes(parts), whole, atol=1e-5)
    assert torch.equal(striped.retrieval_codes(parts), parts)
    pixels = torch.randint(256, (3, 3, 128, 64), dtype=torch.uint8)
    assert torch.allclose(encode(striped, pixels), striped(normalise(pixels))[0], atol=1e-4)


def test_more_stripes_than_rows_and_backbones_without_a_pooling_layer_are_refused():
    net = ReIDNet("resnet18", 2, stripes=8)
    assert net(torch.zeros(2, 3, 256, 64))[0].shape == (2, 8 * 512)
    with pytest.raises(ValueError, match="stripes is 8, but the last feature map has 4 rows"):
        net(torch.zeros(2, 3, 128, 48))
    with pytest.raises(ValueError, match="8, but the last feature map has 4 rows"):
        encode(net, torch.zeros(1, 3, 128, 48, dtype=torch.uint8))
    with pytest.raises(ValueError, match="mobilenet_v2 has no pooling layer to cut into stripes"):
        ReIDNet("mobilenet_v2", 2, stripes=2)
