"""``python -m nucleosynth.deploy``, and ``python app/deploy``, which is how a container of MONAI Deploy starts it."""

import sys

# By name, since a folder that is run is no package.
from nucleosynth.deploy.command import enlarge_stack, main

if __name__ == "__main__":
    enlarge_stack()
    sys.exit(main())
