"""What the architectures share: tokenizers without a file, text encoders, VAEs, schedulers."""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

from collections.abc import Callable
from typing import Any

from diffusers import AutoencoderKL
from torch import nn
from transformers import ByT5Tokenizer, CLIPTextConfig, CLIPTokenizer, T5Config, T5EncoderModel

CLIP_TOKENS = 77
# What FLUX.1-schnell and SD3 read of a prompt; FLUX.1-dev alone reads 512.
T5_TOKENS = 256

Parts = dict[str, Any]


def byte_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer without its merges: one token a UTF-8 byte, 514 in all, no file needed.

    CLIP writes bytes as characters (GPT-2's `bytes_to_unicode`): printable Latin-1 stands for
    itself, the other bytes for the characters from 256 on. `</w>` marks a word's last byte.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    units = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
    words = [*units, *(unit + "</w>" for unit in units), "<|startoftext|>", "<|endoftext|>"]
    vocab = {word: index for index, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=CLIP_TOKENS)


def t5_tokenizer() -> ByT5Tokenizer:
    """T5's tokenizer as ByT5 has it: one token a UTF-8 byte, 384 in all, no file needed."""
    return ByT5Tokenizer(model_max_length=512)


def vae(
    channels: tuple[int, ...],
    *,
    layers: int,
    groups: int,
    side: int,
    latents: int = 4,
    scaling: float = 0.18215,
    shift: float | None = None,
) -> AutoencoderKL:
    """An autoencoder that halves the side at each level but the last.

    With 16 latent channels (SD3, FLUX) it has no 1x1 convolution around the latents.
    """
    plain = latents == 4
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=layers,
        latent_channels=latents,
        norm_num_groups=groups,
        sample_size=side,
        scaling_factor=scaling,
        shift_factor=shift,
        use_quant_conv=plain,
        use_post_quant_conv=plain,
    )


def clip(
    encoder: Callable[[CLIPTextConfig], nn.Module], width: int, *, layers: int, heads: int, act: str
) -> nn.Module:
    """A CLIP text encoder of CLIP's vocabulary, whose special tokens are the byte tokenizer's."""
    tokens = byte_tokenizer()
    return encoder(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=width,
            intermediate_size=4 * width,
            projection_dim=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            hidden_act=act,
            bos_token_id=tokens.bos_token_id,
            eos_token_id=tokens.eos_token_id,
            pad_token_id=tokens.pad_token_id,
        )
    )


def t5(width: int, *, layers: int, heads: int, head_width: int, feed_forward: int) -> nn.Module:
    """The encoder of a T5 v1.1, of T5's vocabulary."""
    return T5EncoderModel(
        T5Config(
            vocab_size=32128,
            d_model=width,
            d_kv=head_width,
            d_ff=feed_forward,
            num_layers=layers,
            num_heads=heads,
            feed_forward_proj="gated-gelu",
            is_encoder_decoder=False,
            use_cache=False,
        )
    )
