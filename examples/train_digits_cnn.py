"""Train a small CNN on scikit-learn's digits images and see its FLOPs per batch and epoch.

What `make demo` runs. Writes digits_cnn_batch.csv and digits_cnn_epoch.csv here.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from flops_tracker import FlopsTracker, TorchAutoEstimator

EPOCHS = 3


def digits_loader(batch_size: int) -> DataLoader:
    """1797 grey images of 8x8 pixels with their digit."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(digits.target)
    return DataLoader(TensorDataset(images, labels), batch_size=batch_size, shuffle=True)


def small_cnn() -> nn.Module:
    """Two convolutions and a linear layer: 1x8x8 to 10 digits."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(32 * 2 * 2, 10),
    )


def main() -> None:
    torch.manual_seed(0)
    model, loader = small_cnn(), digits_loader(batch_size=512)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    estimator = TorchAutoEstimator(model, input_example=(1, 1, 8, 8))
    print(estimator.report(), end="\n\n")

    ft = FlopsTracker(estimator, run_name="digits_cnn")
    ft.torch_bind(model, optimizer, train_loader=loader)
    print(f"before training, {EPOCHS} epochs will cost {ft.estimate(EPOCHS):,} FLOPs\n")

    for epoch in ft(range(EPOCHS), print_level="both", export="both", overwrite="replace"):
        if epoch == 0:
            print("(that was the first epoch; the loop's body runs after each)")

    print("\nrows of digits_cnn_epoch.csv:")
    with open("digits_cnn_epoch.csv", encoding="utf-8") as file:
        print(file.read())

    model.eval()
    with torch.no_grad():
        images, labels = loader.dataset.tensors
        accuracy = (model(images).argmax(1) == labels).float().mean().item()
    print(f"accuracy on the training images: {accuracy:.1%}")


if __name__ == "__main__":
    main()
