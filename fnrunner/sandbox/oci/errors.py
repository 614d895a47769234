"""What is wrong with an image, or with this host."""

from __future__ import annotations

from fnrunner.sandbox.sandbox import SandboxError, SandboxUnavailable


class ImageError(SandboxError):
    """The image could not be had. Check its name, and that this host may fetch it (skopeo inspect NAME)."""


class ImageRefused(ImageError):
    """This is no image that can be run. Name one as docker://HOST/NAME:TAG, oci:DIRECTORY:TAG or docker-archive:FILE."""


class ImageChanged(ImageError):
    """The image is another one than when the function was deployed. Update the function's code with the same name."""


class ContainersUnavailable(SandboxUnavailable):
    """This host cannot run container images. Install an OCI runtime, skopeo and umoci (apt-get install crun skopeo umoci)."""
