"""The checks, one per file: values, negation, quantifiers, roles, antonyms, entities, other words."""
