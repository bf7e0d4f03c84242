"""The manifest of a bundle: what a trained model is, what it needs, and the hash of each of its bytes.

Pure: whoever reads the files hands their bytes in. A bundle that is not what its manifest says is refused with
BundleRefused at load, never at a request.
"""

import re
from collections.abc import Mapping
from hashlib import sha256

import msgspec

from behavior.calibration import Calibration
from behavior.errors import BadInput, BundleRefused

FORMAT = 2
MANIFEST_FILE = "manifest.json"
# Beside the manifest: an Ed25519 signature of its bytes. No part of what the manifest lists, since it comes after it.
SIGNATURE_FILE = "manifest.sig"
MODEL_FILE = "model.onnx"
TEXT_FILE = "model.txt"
VOCABULARIES_FILE = "vocabularies.json"
GOLDEN_FILE = "golden.npz"
REFERENCE_FILE = "reference.json"
FILES = (MODEL_FILE, TEXT_FILE, VOCABULARIES_FILE, GOLDEN_FILE, REFERENCE_FILE)
# What a bundle may have besides, listed and hashed like the others: those that rank categories do, if they are not old.
CONTEXT_FILE = "context.json"
# Inputs that come with the request and are no features of the plan.
REQUEST_INPUTS = ("moment:", "candidate:")
_BUNDLE_ID = re.compile(r"([a-z0-9_]+)-[0-9]{8}-[0-9a-f]{8}")


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input of the model: a reference, and the fingerprint that its feature had in the plan at training.

    fingerprint is None for an input that comes with the request (`moment:hour`, `candidate:category`).
    """

    ref: str
    fingerprint: str | None = None


class Span(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Instants from `start_us` up to but without `end_us`, microseconds UTC."""

    start_us: int
    end_us: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a bundle directory holds.

    bundle_id           <target>-<UTC date>-<hash8>; the hash is that of everything else in this manifest
    content             sha256 of all but the id and the time stamp: the same data makes the same content on any day
    target, entity      what is predicted (`purchase_7d`) and of what (`user_category`)
    created             ISO 8601, UTC
    features            the model's inputs in the order of its columns
    zone                IANA zone of the source, for users without a known offset
    trained             the span of training instants and of their labels
    rows                how many rows were used for what
    metrics             the evaluation with its intervals, as training printed it
    export_difference   greatest difference between LightGBM and ONNX Runtime that was found, in margin
    versions            of the libraries that made it
    files               sha256 of each file beside the manifest, hexadecimal
    calibration         from raw margins to those that can be believed; without one, answers say so
    git_revision        of the feature definitions, with `+dirty` behind it if they were changed since; None outside one
    least_known_share   share of the inputs that must be there for a vector to be trusted
    """

    format: int = FORMAT
    bundle_id: str = ""
    content: str = ""
    target: str
    entity: str
    created: str
    features: tuple[Input, ...]
    zone: str
    trained: Span
    rows: dict[str, int]
    metrics: dict[str, object]
    export_difference: float
    versions: dict[str, str]
    files: dict[str, str]
    calibration: Calibration | None = None
    git_revision: str | None = None
    least_known_share: float = 0.0

    @property
    def calibrated(self) -> bool:
        """Whether margins are calibrated."""
        return self.calibration is not None

    @property
    def inputs(self) -> tuple[str, ...]:
        """The references of the model's inputs, in the order of its columns."""
        return tuple(each.ref for each in self.features)


def encode(manifest: Manifest) -> bytes:
    """The manifest file: the one way to write it."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def sealed(draft: Manifest) -> Manifest:
    """The draft with the content hash and the id that it asks for; those that it has are not looked at."""
    # Through JSON, so that what is hashed is what will be read: a 0 where a float belongs becomes 0.0.
    draft = msgspec.json.decode(msgspec.json.encode(draft), type=Manifest)
    draft = msgspec.structs.replace(draft, content=_content_of(draft))
    return msgspec.structs.replace(draft, bundle_id=_id_of(draft))


def decode(data: bytes) -> Manifest:
    """The manifest of a manifest file.

    Raises BundleRefused if it is none, is of another format, or differs in one bit from what was written.
    """
    try:
        form = msgspec.json.decode(data, type=_Form).format
        if form != FORMAT:
            raise BundleRefused(f"{MANIFEST_FILE}: format {form} is not {FORMAT}; train the bundle with this version")
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, BadInput) as error:
        raise BundleRefused(f"{MANIFEST_FILE} cannot be read ({error}); train the bundle again") from None
    if not is_bundle_id(manifest.bundle_id) or encode(manifest) != data or sealed(manifest) != manifest:
        raise BundleRefused(
            f"{MANIFEST_FILE} of {manifest.bundle_id} was changed after it was written; restore the bundle"
        )
    return manifest


def is_bundle_id(text: str) -> bool:
    """Whether the text has the form of a bundle id, and so is safe as the name of a directory."""
    return _BUNDLE_ID.fullmatch(text) is not None


def target_of(bundle_id: str) -> str:
    """The target that a bundle id names. Raises BadInput if it is none.

    >>> target_of("purchase_7d-20170925-0123abcd")
    'purchase_7d'
    """
    match = _BUNDLE_ID.fullmatch(bundle_id)
    if match is None:
        raise BadInput(f"{bundle_id!r} is no bundle id; it looks like purchase_7d-20170925-0123abcd")
    return match[1]


class _Form(msgspec.Struct, frozen=True):
    format: int


def _content_of(manifest: Manifest) -> str:
    dated = msgspec.structs.replace(manifest, bundle_id="", content="", created="")
    return sha256(msgspec.json.encode(dated, order="sorted")).hexdigest()


def _id_of(manifest: Manifest) -> str:
    content = msgspec.json.encode(msgspec.structs.replace(manifest, bundle_id=""), order="sorted")
    date = manifest.created[:10].replace("-", "")
    return f"{manifest.target}-{date}-{sha256(content).hexdigest()[:8]}"


def check_files(manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Raise BundleRefused unless exactly the files of the manifest are there, each with its hash."""
    where = f"bundle {manifest.bundle_id}"
    missing = sorted((set(manifest.files) | set(FILES)) - set(files))
    unlisted = sorted((set(files) | set(FILES)) - set(manifest.files))
    if missing:
        raise BundleRefused(f"{where}: {', '.join(missing)} missing; restore the bundle or train again")
    if unlisted:
        raise BundleRefused(f"{where}: {', '.join(unlisted)} not in its manifest; restore the bundle or train again")
    for name, data in files.items():
        if sha256(data).hexdigest() != manifest.files[name]:
            raise BundleRefused(f"{where}: {name} is not the file that was written; restore the bundle or train again")


def check_features(manifest: Manifest, fingerprints: Mapping[str, str]) -> None:
    """Raise BundleRefused unless the plan has every feature of the model with an equal fingerprint.

    fingerprints    {reference: fingerprint} of the plan
    """
    needed = [each for each in manifest.features if not each.ref.startswith(REQUEST_INPUTS)]
    absent = [each.ref for each in needed if each.ref not in fingerprints]
    changed = [each.ref for each in needed if fingerprints.get(each.ref, each.fingerprint) != each.fingerprint]
    if absent or changed:
        told = [
            f"{name} {', '.join(refs)}" for name, refs in (("lacks", absent), ("defines otherwise", changed)) if refs
        ]
        raise BundleRefused(
            f"bundle {manifest.bundle_id}: the plan {' and '.join(told)}; "
            "apply the definitions that it was trained with, or train again"
        )
