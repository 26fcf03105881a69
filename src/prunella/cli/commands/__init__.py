"""One module for each command, with the command as a function of the same name, and EXAMPLES."""

from collections.abc import Mapping

# In the order of the help.
SUMMARIES: Mapping[str, str] = {
    "demo": "See it work on bundled data, in about a minute.",
    "train": "Train a network from scratch.",
    "prune": "Make a trained network small, with a certificate.",
    "certify": "Certify a small network on other samples.",
    "verify": "Compute a certificate again and compare.",
    "export": "Write a small network as ONNX or .pt2 file.",
    "report": "Make the HTML report of a run again.",
    "theory": "Say whether to train small or to prune large.",
    "data": "List, check or fetch data sets.",
}
