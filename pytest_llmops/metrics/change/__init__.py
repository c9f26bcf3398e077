"""A change between two runs of the same cases: is it more than chance, how large may it be, and which cases broke?"""
