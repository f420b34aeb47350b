"""For auditors: a served classifier as the attack libraries take one.

    from holdfast.auditing import served_module    # a torch module, from a bundle: gradients, and the answers as served
    from holdfast.auditing import art_classifier   # an ART classifier, of a running server: answers over gRPC
    from holdfast.auditing import foolbox_model    # a foolbox model, likewise

docs/auditing.md has an example of each.
"""

from holdfast.auditing.art import art_classifier
from holdfast.auditing.foolbox import foolbox_model
from holdfast.auditing.module import ServedModule, served_module
from holdfast.auditing.remote import RemoteClassifier

__all__ = ["RemoteClassifier", "ServedModule", "art_classifier", "foolbox_model", "served_module"]
