"""Labels of the published data sets, from sources in hand; a class without one is only a number."""

from __future__ import annotations

from functools import cache


@cache
def kinetics400() -> tuple[str, ...]:
    """The 400 labels of Kinetics-400 in alphabetical order, as torchvision's weights carry them."""
    from torchvision.models.video import R3D_18_Weights

    return tuple(R3D_18_Weights.KINETICS400_V1.meta["categories"])


@cache
def imagenet1k() -> tuple[str, ...]:
    """The 1000 labels of ImageNet-1k, as torchvision's weights carry them.

    ImageNet calls two classes "crane" and two "maillot"; torchvision's names already tell them
    apart.
    """
    from torchvision.models import EfficientNet_B0_Weights

    return tuple(EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"])


def ava() -> tuple[str, ...]:
    """The 80 actions of AVA v2.2; number k in its files, which count from 1, at place k - 1.

    Gu et al., "AVA: A Video Dataset of Spatio-temporally Localized Atomic Visual Actions", CVPR
    2018, arXiv 1705.08421, list of actions v2.2: 14 poses, 49 with objects, 17 with other people.
    """
    return (*_POSES, *_WITH_OBJECTS, *_WITH_PEOPLE)


_POSES = (
    *("bend/bow (at the waist)", "crawl", "crouch/kneel", "dance", "fall down", "get up"),
    *("jump/leap", "lie/sleep", "martial art", "run/jog", "sit", "stand", "swim", "walk"),
)
_WITH_OBJECTS = (
    *("answer phone", "brush teeth", "carry/hold (an object)", "catch (an object)", "chop"),
    *("climb (e.g., a mountain)", "clink glass", "close (e.g., a door, a box)", "cook", "cut"),
    *("dig", "dress/put on clothing", "drink", "drive (e.g., a car, a truck)", "eat", "enter"),
    *("exit", "extract", "fishing", "hit (an object)", "kick (an object)", "lift/pick up"),
    *("listen (e.g., to music)", "open (e.g., a window, a car door)", "paint"),
    *("play board game", "play musical instrument", "play with pets", "point to (an object)"),
    *("press", "pull (an object)", "push (an object)", "put down", "read"),
    *("ride (e.g., a bike, a car, a horse)", "row boat", "sail boat", "shoot", "shovel", "smoke"),
    *("stir", "take a photo", "text on/look at a cellphone", "throw", "touch (an object)"),
    *("turn (e.g., a screwdriver)", "watch (e.g., TV)", "work on a computer", "write"),
)
_WITH_PEOPLE = (
    *("fight/hit (a person)", "give/serve (an object) to (a person)", "grab (a person)"),
    *("hand clap", "hand shake", "hand wave", "hug (a person)", "kick (a person)"),
    *("kiss (a person)", "lift (a person)", "listen to (a person)", "play with kids"),
    *("push (another person)", "sing to (e.g., self, a person, a group)"),
    *("take (an object) from (a person)", "talk to (e.g., self, a person, a group)"),
    "watch (a person)",
)
