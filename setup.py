"""Find the packages: kerasft/ with its folders, and export/ and examples/ as parts of it."""

from setuptools import find_packages, setup

MAPPED = {"kerasft.export": "export", "kerasft.examples": "examples"}

packages = find_packages(include=["kerasft", "kerasft.*"])
for name, folder in MAPPED.items():
    packages += [name, *(f"{name}.{inner}" for inner in find_packages(folder))]

setup(packages=packages, package_dir=MAPPED)
