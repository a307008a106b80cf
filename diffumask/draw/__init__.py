"""Pictures for people: class colours, overlays, heat maps and contact sheets."""

from .colours import Palette as Palette
from .colours import display_palette as display_palette
from .colours import voc_palette as voc_palette
from .layers import heat_overlay as heat_overlay
from .layers import overlay as overlay
from .legend import caption as caption
from .legend import fitting as fitting
from .legend import font as font
from .legend import legend as legend
from .legend import swatch as swatch
from .sheet import GUTTER_PX as GUTTER_PX
from .sheet import THUMBNAIL_QUALITY as THUMBNAIL_QUALITY
from .sheet import contact_sheet as contact_sheet
from .sheet import data_uri as data_uri
from .sheet import evenly as evenly
from .sheet import fit as fit
from .sheet import shrink as shrink
