"""Scenes with exact truth: emoji sprites on procedural backgrounds."""

from diffumask.scenes.catalog import Catalog as Catalog
from diffumask.scenes.catalog import load_catalog as load_catalog
from diffumask.scenes.render import Scene as Scene
from diffumask.scenes.render import SceneObject as SceneObject
from diffumask.scenes.render import render_scene as render_scene
