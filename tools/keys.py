"""Print the reference of all keys of a settings file as Markdown, from its JSON schema: tools/keys.py SCHEMA.

json-schema-for-humans would give each of the keys a section of its own, and each "or none" two more.
"""

import json
import sys
from pathlib import Path

import jinja2

templates = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), trim_blocks=False)
print(templates.get_template("keys.md.j2").render(schema=json.loads(Path(sys.argv[1]).read_text())))
