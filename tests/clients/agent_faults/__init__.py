"""What the SDKs of models and agents do by themselves after each kind of fault."""
