"""One check per file: negation, entities, values, quantifiers, roles."""
