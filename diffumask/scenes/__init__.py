"""Scenes with exact truth: emoji sprites on procedural backgrounds."""

from .catalog import Catalog as Catalog
from .catalog import load_catalog as load_catalog
from .render import Scene as Scene
from .render import SceneObject as SceneObject
from .render import render_scene as render_scene
