"""A hundred seeds as they come, saved as the official tools name them; what failed is told."""
import pathlib

from seedpress import Seedpress

folder = pathlib.Path("pictures")
folder.mkdir(exist_ok=True)
with Seedpress() as sp:
    for result in sp.generate_many("avatars64", range(100, 200), psi=0.7, window=32):
        if result.image:
            result.image.save(folder / f"seed{result.seed:04d}.jpg")
        else:
            print(f"seed {result.seed}: {result.error}")
