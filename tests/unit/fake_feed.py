"""A feed of drawn images, small networks, and the settings of a training: for tests of the trainer."""

import torch
from torch import nn
from wherein.models.training.distributed import Place
from wherein.settings import fill_defaults, schema

CPU = torch.device("cpu")
ALONE = Place(0, 1, CPU)
CLASSES = 3


def settings(**words):
    """`models.<name>.training` with a constant learning rate, float32, and these words over it."""
    found = {"schedule": "constant", "epochs": 3, "checkpoint_minutes": 1000, "precision": "fp32", **words}
    fill_defaults(found, schema()["$defs"]["training"])
    return found


class DrawnFeed:
    """Units whose classes are bright quarters of their images; noise, which is drawn anew for each batch."""

    def __init__(self, units=24, batch=4, side=8, channels=2, seed=0, noise=0.3, share=(0, 1), kind="labels"):
        generator = torch.Generator().manual_seed(seed)
        self.labels = (torch.rand(units, CLASSES, generator=generator) < 0.4).float()
        self.labels[self.labels.sum(1) == 0, 0] = 1
        self.images = torch.zeros(units, channels, side, side)
        half = side // 2
        corners = ((0, 0), (0, half), (half, 0))
        for number, (y, x) in enumerate(corners):
            self.images[:, 0, y : y + half, x : x + half] += self.labels[:, number, None, None]
        self.classes, self.batch, self.seed, self.noise, self.share, self.kind = (
            CLASSES,
            batch,
            seed,
            noise,
            share,
            kind,
        )
        self.given = []
        self.changes = {}

    def __len__(self):
        return -(-len(self.images) // self.batch)

    def batches(self, epoch, first):
        order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(self.seed * 1000 + epoch))
        for number in range(first, len(self)):
            self.given.append((epoch, number))
            own = order[number * self.batch : (number + 1) * self.batch]
            generator = torch.Generator().manual_seed(hash((self.seed, epoch, number)) % 2**31)
            images = self.images[own] + self.noise * torch.randn(self.images[own].shape, generator=generator)
            images = self.changes.get((epoch, number), lambda x: x)(images)
            rows = slice(self.share[0], None, self.share[1])
            yield images[rows], self._targets(own)[rows]

    def _targets(self, own):
        if self.kind == "classes":
            return self.labels[own].argmax(dim=1)
        if self.kind == "soft":
            return torch.stack([self.labels[own], 0.8 * self.labels[own] + 0.1], dim=1)
        return self.labels[own]


class SmallNetwork(nn.Module):
    """Convolution, normalization (unless told otherwise), dropout: what has a state that a training may forget."""

    def __init__(self, seed=0, normalized=True, dropout=0.2, channels=2):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.conv = nn.Conv2d(channels, 6, 3, padding=1)
            self.norm = nn.BatchNorm2d(6) if normalized else nn.Identity()
            self.dropout = nn.Dropout(dropout)
            self.dense = nn.Linear(24, 5)
            self.last = nn.Linear(5, CLASSES)

    def forward(self, images):
        maps = torch.relu(self.norm(self.conv(images)))
        pooled = nn.functional.adaptive_avg_pool2d(maps, 2).flatten(1)
        vector = torch.tanh(self.dense(self.dropout(pooled)))
        return vector, self.last(vector)


def same(first, second):
    """Whether two networks have the same values, bit for bit."""
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
