"""How the Panda looks: rounded primitives in white and dark grey. Nothing here touches physics."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from robot_servers.models.pieces import add_visual

MATERIALS: dict[str, dict[str, object]] = {
    "shell": {"rgba": (0.93, 0.935, 0.94, 1), "specular": 0.45, "shininess": 0.6},
    "grey": {"rgba": (0.72, 0.735, 0.75, 1), "specular": 0.4, "shininess": 0.5},
    "dark": {"rgba": (0.16, 0.165, 0.175, 1), "specular": 0.5, "shininess": 0.4},
    "accent": {"rgba": (0.10, 0.52, 0.72, 1), "specular": 0.3, "shininess": 0.5},
    "metal": {"rgba": (0.55, 0.56, 0.58, 1), "specular": 0.8, "shininess": 0.8},
}

LINKS: tuple[tuple[tuple[str, str, tuple[float, ...], float | tuple[float, ...]], ...], ...] = (
    (
        ("box", "grey", (-0.05, 0, 0.008), (0.1, 0.095, 0.008)),
        ("cylinder", "shell", (0, 0, 0.016, 0, 0, 0.1), 0.086),
        ("ellipsoid", "shell", (0, 0, 0.1), (0.086, 0.086, 0.036)),
        ("capsule", "shell", (-0.095, 0, 0.052, 0, 0, 0.075), 0.05),
        ("cylinder", "dark", (-0.14, 0, 0.052, -0.147, 0, 0.052), 0.03),
        ("cylinder", "dark", (0, 0, 0.128, 0, 0, 0.143), 0.066),
    ),
    (
        ("cylinder", "shell", (0, 0, -0.19, 0, 0, 0), 0.068),
        ("cylinder", "shell", (0, -0.066, 0, 0, 0.066, 0), 0.072),
        ("cylinder", "grey", (0, -0.074, 0, 0, 0.074, 0), 0.060),
        ("cylinder", "dark", (0, -0.077, 0, 0, 0.077, 0), 0.034),
    ),
    (
        ("cylinder", "shell", (0, 0, 0, 0, -0.17, 0), 0.064),
        ("cylinder", "dark", (0, -0.17, 0, 0, -0.18, 0), 0.062),
    ),
    (
        ("cylinder", "shell", (0, 0, -0.136, 0, 0, -0.05), 0.062),
        ("capsule", "shell", (0, 0, -0.055, 0.065, 0, -0.005), 0.0615),
        ("cylinder", "shell", (0.0825, -0.064, 0, 0.0825, 0.064, 0), 0.064),
        ("cylinder", "grey", (0.0825, -0.071, 0, 0.0825, 0.071, 0), 0.053),
        ("cylinder", "dark", (0.0825, -0.074, 0, 0.0825, 0.074, 0), 0.030),
    ),
    (
        ("capsule", "shell", (0, 0, 0, -0.0825, 0.06, 0), 0.056),
        ("cylinder", "shell", (-0.0825, 0.05, 0, -0.0825, 0.12, 0), 0.06),
        ("cylinder", "dark", (-0.0825, 0.12, 0, -0.0825, 0.13, 0), 0.056),
    ),
    (
        ("cylinder", "shell", (0, 0, -0.254, 0, 0, -0.2), 0.058),
        ("capsule", "shell", (0, 0.0, -0.2, 0, 0.055, -0.12), 0.056),
        ("capsule", "shell", (0, 0.055, -0.12, 0, 0.052, -0.01), 0.046),
        ("capsule", "grey", (0, 0.03, -0.17, 0, 0.028, -0.02), 0.05),
        ("cylinder", "shell", (0, 0.045, -0.01, 0, 0.075, -0.01), 0.05),
    ),
    (
        ("cylinder", "shell", (0, 0, -0.062, 0, 0, 0.062), 0.051),
        ("cylinder", "grey", (0, 0, -0.068, 0, 0, 0.068), 0.043),
        ("cylinder", "dark", (0, 0, -0.071, 0, 0, 0.071), 0.024),
        ("capsule", "shell", (0, 0, 0, 0.075, 0, 0), 0.046),
    ),
    (
        ("cylinder", "shell", (0, 0, -0.052, 0, 0, 0.066), 0.0465),
        ("cylinder", "accent", (0, 0, -0.056, 0, 0, -0.05), 0.038),
        ("cylinder", "grey", (0, 0, 0.066, 0, 0, 0.082), 0.0445),
        ("cylinder", "dark", (0, 0, 0.082, 0, 0, 0.107), 0.0415),
    ),
)
"""Per link: (shape, material, pos or fromto in the link's DH frame [m], size [m])."""


def add_link(body: Element, index: int, prefix: str) -> None:
    """Visual geoms of link `index` (0 is the base)."""
    for shape, material, place, size in LINKS[index]:
        add_visual(body, shape, prefix + material, place, size)


def add_hand(body: Element, prefix: str) -> None:
    """The hand: 0.2 m wide along y."""
    add_visual(body, "cylinder", prefix + "dark", (0, 0, 0, 0, 0, 0.012), 0.04)
    add_visual(body, "capsule", prefix + "shell", (0, -0.068, 0.034, 0, 0.068, 0.034), 0.032)
    add_visual(body, "box", prefix + "shell", (0, 0, 0.045), (0.026, 0.088, 0.018))
    add_visual(body, "box", prefix + "dark", (0, 0, 0.0635), (0.012, 0.085, 0.002))


def add_finger(body: Element, prefix: str) -> None:
    """A finger: carriage, stem and pad."""
    add_visual(body, "box", prefix + "grey", (0, 0.014, 0.011), (0.0105, 0.0125, 0.006))
    add_visual(body, "box", prefix + "metal", (0, 0.014, 0.03), (0.0095, 0.0065, 0.016))
    add_visual(body, "box", prefix + "dark", (0, 0.0062, 0.045), (0.009, 0.006, 0.0102))
