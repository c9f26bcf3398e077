"""The table of options that docs/reference/options.md shows."""

from __future__ import annotations

from pytest_llmops.settings import OPTIONS


def format_options_table() -> str:
    """Return the options as the Markdown table of docs/reference/options.md."""
    lines = ["| flag | ini key | meaning | default |", "|---|---|---|---|"]
    for option in OPTIONS:
        value = f"[={option.metavar}]" if option.bare else f" {option.metavar}"
        flag = f"`{option.flag}{'' if option.switch else value}`" if option.flag else ""
        ini = f"`{option.dest}`" if option.ini else ""
        default = str(option.default).lower() if isinstance(option.default, bool) else str(option.default)
        default = "" if option.default in ("", (), False, None) else f"`{default}`"
        env = f" (environment: {', '.join(f'`{name}`' for name in option.env)})" if option.env else ""
        lines.append(
            f"| {flag.replace('|', chr(92) + '|')} | {ini} | {option.description.replace('|', chr(92) + '|')}{env} | {default} |"
        )
    return "\n".join(lines)
