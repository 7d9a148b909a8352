"""Why a content scored as it did: by feature, by modality, and over the picture."""
