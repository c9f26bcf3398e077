"""Find secrets in any encoding and mask them before anything is written."""
