"""The stage protocols: what a tagger, detector, segmenter or captioner offers to the chain.

The caller holds whatever is costly to compute: the embeddings of a vocabulary (TextEmbeddings, Queries), the features
of an image and the segmenter's encoding (E). No adapter remembers an image.
"""

from openvocab.pipeline.protocols.arrays import NO_PIXELS, ImageArray
from openvocab.pipeline.protocols.detectors import (
    BatchEncoder,
    Boxes,
    Detector,
    ExemplarDetector,
    LateFusionDetector,
    MaskDetector,
    ProposingDetector,
)
from openvocab.pipeline.protocols.segmenters import ExemplarSegmenter, PromptSegmenter, Segmenter
from openvocab.pipeline.protocols.taggers import (
    Captioner,
    JointScorer,
    NamingCaptioner,
    Prepared,
    PreparingTagger,
    SizedInput,
    Tagger,
    TokenLimited,
)
from openvocab.pipeline.protocols.vocabularies import Background, Queries, QueryRow, TextEmbeddings, Vocabulary

__all__ = [
    "NO_PIXELS",
    "Background",
    "BatchEncoder",
    "Boxes",
    "Captioner",
    "Detector",
    "ExemplarDetector",
    "ExemplarSegmenter",
    "ImageArray",
    "JointScorer",
    "LateFusionDetector",
    "MaskDetector",
    "NamingCaptioner",
    "Prepared",
    "PreparingTagger",
    "PromptSegmenter",
    "ProposingDetector",
    "Queries",
    "QueryRow",
    "Segmenter",
    "SizedInput",
    "Tagger",
    "TextEmbeddings",
    "TokenLimited",
    "Vocabulary",
]
