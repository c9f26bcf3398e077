"""Groups of the console command, one file each: ``add`` declares its arguments, and nothing heavy comes with it."""
