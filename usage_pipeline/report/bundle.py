"""The page's scripts: Vega, Vega-Lite and Vega-Embed as one text, from the vl-convert package; nothing is fetched.

Put the door to vl-convert here. The scripts are the version of Vega-Lite that Altair writes.
"""

from functools import cache

import vl_convert
from altair.vegalite import SCHEMA_VERSION


@cache
def vega_script() -> str:
    """The libraries, with `vegaEmbed` as a global; no text in it ends a script element."""
    version = ".".join(SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version)
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")
