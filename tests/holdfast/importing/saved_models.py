"""Tiny models of transformers with random weights, saved as people get them."""

import json
from pathlib import Path

import torch
import transformers as tf
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

SIDE, SHORTEST = 32, 40

TOKENS = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": SIDE,
    "patch_size": 8,
}
DINO = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_ratio": 2, "image_size": 40, "patch_size": 8}
MAPS = {"hidden_sizes": [6, 8, 10, 12], "depths": [1, 1, 1, 1]}
TEXT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 64,
    "max_position_embeddings": 16,
    "bos_token_id": 62,
    "eos_token_id": 63,
    "pad_token_id": 1,
}

CROPPED = {
    "size": {"shortest_edge": SHORTEST},
    "crop_size": {"height": SIDE, "width": SIDE},
    "do_center_crop": True,
    "resample": 3,
}
PLAIN = {"size": {"height": SIDE, "width": SIDE}, "resample": 2}
DINO3 = {
    "image_processor_type": "DINOv3ViTImageProcessorFast",
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


def made(kind):
    """A model, and what is called its embedding."""
    torch.manual_seed(0)
    match kind:
        case "clip":
            vision, text = dict(TOKENS), dict(TEXT)
            model = tf.CLIPModel(tf.CLIPConfig(vision_config=vision, text_config=text, projection_dim=12))
            return model, lambda pixels: model.get_image_features(pixel_values=pixels).pooler_output
        case "siglip":
            model = tf.SiglipModel(tf.SiglipConfig(vision_config=dict(TOKENS), text_config=dict(TEXT)))
            return model, lambda pixels: model.get_image_features(pixel_values=pixels).pooler_output
        case "vit":
            model = tf.ViTForImageClassification(tf.ViTConfig(**TOKENS, num_labels=3))
            return model, lambda pixels: model.vit(pixel_values=pixels).last_hidden_state[:, 0]
        case "dinov2":
            model = tf.Dinov2Model(tf.Dinov2Config(**DINO))
        case "dinov2_with_registers":
            model = tf.Dinov2WithRegistersModel(tf.Dinov2WithRegistersConfig(**DINO))
        case "dinov3_vit":
            model = tf.DINOv3ViTModel(tf.DINOv3ViTConfig(**TOKENS))
        case "dinov3_convnext":
            model = tf.DINOv3ConvNextModel(tf.DINOv3ConvNextConfig(**MAPS))
        case "convnext":
            model = tf.ConvNextModel(tf.ConvNextConfig(**MAPS))
        case "convnextv2":
            model = tf.ConvNextV2Model(tf.ConvNextV2Config(**MAPS))
        case "resnet":
            model = tf.ResNetModel(tf.ResNetConfig(**MAPS, embedding_size=6))
    return model, lambda pixels: model(pixel_values=pixels).pooler_output.flatten(1)


def processor_of(kind):
    """As the family has it; None where it needs torchvision."""
    match kind:
        case "clip":
            return tf.CLIPImageProcessorPil(**CROPPED)
        case "siglip":
            return tf.SiglipImageProcessorPil(**PLAIN)
        case "vit":
            return tf.ViTImageProcessorPil(**PLAIN)
        case "dinov2" | "dinov2_with_registers":
            return BitImageProcessorPil(**CROPPED)
        case "convnext" | "convnextv2" | "resnet":
            return tf.ConvNextImageProcessorPil(size={"shortest_edge": SIDE}, crop_pct=0.8, resample=3)
    return None


def save(kind, folder: Path):
    """The model's directory, and the function from pixels to its embedding."""
    model, embed = made(kind)
    model.eval().requires_grad_(requires_grad=False)
    for name, each in model.named_parameters():  # a fresh model's norms are all alike, and its scales next to nothing
        torch.nn.init.normal_(each, 1 if "norm" in name and "weight" in name else 0, 0.3)
    model.save_pretrained(folder)
    processor = processor_of(kind)
    if processor is None:
        (folder / "preprocessor_config.json").write_text(json.dumps(DINO3 | PLAIN))
    else:
        processor.save_pretrained(folder)
    return folder, embed
