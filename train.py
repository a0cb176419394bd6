"""Train a model: every option is a config under conf/, every value an override.

python train.py                                          a GAN on 10,000 digits of MNIST that come with it
python train.py model=vae dataset=mnist                  any model x networks x data set x hardware
python train.py model=gan trainer.devices=4
python train.py resume=runs/latest trainer.max_steps=9000
python train.py -m model=ae,vae,gan seed=0,1             a grid, one run directory a job
"""

from lightning_gen.commands.train import main

if __name__ == "__main__":
    main()
