"""One picture into a file."""
import seedpress

with seedpress.Seedpress() as sp:
    image = sp.generate("avatars64", 42, psi=0.7)
    image.save("42.jpg")
    print(image.seed, image.source, image.recipe_key)
