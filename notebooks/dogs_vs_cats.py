# ---
# jupyter:
#   # This file is the source, and what is reviewed. The notebook beside it is made from it:
#   #     jupytext --to ipynb --update notebooks/dogs_vs_cats.py    (--update: a cell that stays keeps its id)
#   # tests/story/test_notebook.py holds the two together.
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 猫还是狗？看一个卷积网络怎样学习 · Cat or dog? Watch a convolutional network learn
#
# 我们用 Kaggle 猫狗大战的照片训练一个小网络：三个卷积层，两个全连接层。
# 每训练一段就停下来看看：准确率是多少，哪些图片预测错了，网络看到了什么。
#
# We train a small network, three convolutions and two dense layers, on the photos of Kaggle's Dogs vs Cats.
# After each stage we stop and look: the accuracy, the wrong predictions, and what the network sees.

# %% [markdown]
# ## 配置 · Configure
#
# 照片放在一个文件夹里，每个类别一个子文件夹：`cat` 和 `dog`。
# 要用其他照片，就把环境变量 `CONVSCOPE_NOTEBOOK_DATA` 设为它们所在的文件夹。
#
# The photos are in one folder with a sub-folder for each class, `cat` and `dog`. To use other photos, set the
# environment variable `CONVSCOPE_NOTEBOOK_DATA` to their folder.

# %%
import os
from pathlib import Path

from convscope.errors import FolderError

data = Path(os.environ.get("CONVSCOPE_NOTEBOOK_DATA", "../../shared/data/dogs-vs-cats"))
if not data.is_dir():
    raise FolderError(
        found=f"没有这个文件夹 · no folder {data.resolve()}",
        expected="每个类别一个子文件夹 · a folder with one sub-folder per class, such as cat and dog",
        fix="设置环境变量 · set the environment variable CONVSCOPE_NOTEBOOK_DATA to your folder of photos",
    )
data

# %% [markdown]
# 训练分几段进行，总步数依次为 1、100、1,000、10,000。最后一段在两个 CPU 核心上大约需要十分钟；
# 想快一些，就把 `CONVSCOPE_NOTEBOOK_STEPS` 设为 `1,100,1000`。
#
# Training has stages, which end after 1, 100, 1,000 and 10,000 steps. The last one takes about ten minutes on two
# CPU cores; for a shorter run, set `CONVSCOPE_NOTEBOOK_STEPS` to `1,100,1000`.

# %%
stages = [int(step) for step in os.environ.get("CONVSCOPE_NOTEBOOK_STEPS", "1,100,1000,10000").split(",")]
stages

# %% [markdown]
# `Recipe` 里是全部超参数。每个滤波器都是 3 × 3 像素。
#
# A `Recipe` has all hyperparameters. Each filter is 3 × 3 pixels.

# %%
from convscope import Recipe

recipe = Recipe(
    network="classic",  # 卷积、池化、全连接 · convolutions, pooling, dense layers
    image_size=128,  # 每张图片变成 128 × 128 像素 · every image becomes 128 × 128 pixels
    channels=3,  # 红、绿、蓝 · red, green, blue
    filters=(32, 32, 64),  # 三个卷积层各有多少滤波器 · how many filters each convolution has
    dense_units=128,  # 全连接层的单元数 · units of the dense layer
    batch_size=32,  # 批次大小 · images per step
    learning_rate=1e-4,  # 学习率 · step size of the optimizer
    validation=0.16,  # 验证集占 16 % · 16 % are validation images
    seed=0,  # 相同的种子，相同的结果 · the same seed, the same result
)

# %% [markdown]
# ## 读取数据 · Load the data
#
# 照片只解码一次，然后保存在缓存里；下次打开只要一两秒。
#
# The photos are decoded once into a cache; opening them again takes a second or two.

# %%
from convscope import open_dataset, resolve

dataset = open_dataset(data, resolve(recipe))  # resolve: 其余取默认值 · defaults for the rest
dataset.images.shape, dataset.images.dtype  # 图片、高、宽、通道 · images, height, width, channels

# %% [markdown]
# ## 数据有多少 · How many images
#
# 网络在训练集上训练，在验证集上评估；训练时从不使用验证集的图片。近似重复的图片总在同一个集合里。
#
# The network is trained on the training set and evaluated on the validation set, which is never used in training.
# Near duplicates are always in the same set.

# %%
for split in ("train", "validation"):
    labels = [dataset.classes[label] for label in dataset.labels[dataset.rows(split)]]
    counts = ", ".join(f"{labels.count(name):,} {name}" for name in dataset.classes)
    print(f"{split:10} {len(labels):6,} = {counts}")

# %% [markdown]
# 有些文件不能用，每一个都有原因；训练和评估都跳过它们。
#
# Some files cannot be used, each for a reason; training and evaluation skip them.

# %%
print(f"{len(dataset.refused)} 个文件被拒绝 · files refused")
for sample in dataset.refused[:5]:
    print(sample.path, sample.reason)

# %% [markdown]
# ## 看看图片 · Look at the images
#
# 随机取九张训练图片，上方是它们的类别。
#
# Nine random training images with their classes.

# %%
import numpy as np

from convscope.plotting.image_grids import plot_images

nine = np.random.default_rng(recipe.seed).choice(dataset.rows("train"), 9, replace=False)
plot_images(dataset.images[nine], [dataset.classes[label] for label in dataset.labels[nine]])

# %% [markdown]
# ## 搭建网络 · Build the network
#
# `Learner` 按照 `Recipe` 搭建网络。每一行是一层：名称、输出的形状、参数个数。
#
# A `Learner` builds the network of the `Recipe`. Each line is a layer: its name, its output shape and its number of
# parameters.

# %%
from convscope import Learner, configure_tensorflow

configure_tensorflow()  # 线程等，和命令行一样 · threads and more, as the command line sets them
learner = Learner.open(data, recipe)
for layer in learner.model.layers:
    shape = " × ".join(str(size) for size in layer.output.shape[1:])
    print(f"{layer.name:20} {shape:15} {layer.count_params():9,}")

# %% [markdown]
# 最大池化在 ReLU 之前还是之后，结果相同；先池化，ReLU 的计算量只剩四分之一。几乎所有的参数都在 `dense` 层。
#
# Max pooling before or after the ReLU gives the same values; pooling first leaves the ReLU a quarter of the work.
# Almost all parameters are in the layer `dense`.

# %% [markdown]
# ## 训练 · Train
#
# 每一步取一个批次的图片，沿损失梯度的反方向更新权重。下面的函数训练到某一步为止，然后在全部验证图片上评估。
#
# Each step takes one batch of images and updates the weights against the gradient of the loss. This function trains up
# to a step, then evaluates on all validation images.


# %%
def train_until(step):
    learner.fit(steps=step - learner.step)
    result = learner.evaluate()
    print(f"{learner.step:,} 步 · steps: 准确率 · accuracy {result['accuracy']:.1%}, 损失 · loss {result['loss']:.3f}")


# %% [markdown]
# ### 第一步 · The first step
#
# 两个类别各占一半，所以多数类基线的准确率是 50 %。一步之后，网络和它差不多。
#
# Half of the images are of each class, so that the majority baseline has an accuracy of 50 %. After one step the
# network is about as good.

# %%
train_until(stages[0])

# %% [markdown]
# ### 继续训练 · Continue training
#
# 同一个 `Learner` 接着训练，不从头开始。
#
# The same `Learner` continues from its current step.

# %%
for stage in stages[1:]:
    train_until(stage)

# %% [markdown]
# ## 学习曲线 · Learning curves
#
# 训练损失一直下降，而验证损失先降后升，就是过拟合：网络记住了训练图片，而没有学会类别。虚线标出验证损失最低的一轮。
#
# Where the training loss keeps falling while the validation loss rises again, the network overfits: it memorizes the
# training images. The dotted line marks the epoch with the lowest validation loss.

# %%
from convscope.plotting.history import plot_history

columns = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy")
plot_history({name: [getattr(epoch, name) for epoch in learner.history] for name in columns})

# %% [markdown]
# ## 准确率 · Accuracy
#
# 换一批同样多的图片来评估，准确率会略有不同。95 % 置信区间说明它有多可靠：图片越多，区间越窄。
#
# On as many other images the accuracy would be a little different. The 95 % interval says how far to trust it: more
# images make it narrower.

# %%
from convscope.statistics.metrics import compute_metrics

validation = dataset.rows("validation")
images, labels = dataset.images[validation], dataset.labels[validation]
probabilities = learner.predict(images)
metrics = compute_metrics(labels, probabilities, classes=dataset.classes, split="validation")
accuracy = metrics.accuracy
print(f"准确率 · accuracy {accuracy.value:.1%}")
print(f"95 % 置信区间 · 95 % interval {accuracy.low:.1%} – {accuracy.high:.1%}, {metrics.count:,} images")

# %% [markdown]
# ## 错误预测 · Mistakes
#
# 置信度最高的错误排在最前面。有时错的不是网络，而是标签。
#
# The most confident mistakes come first. Sometimes it is the label that is wrong.

# %%
from convscope.evaluation.mistakes import find_mistakes
from convscope.plotting.image_grids import plot_mistakes

paths = [dataset.samples[row].path for row in validation]
mistakes = find_mistakes(paths, labels, probabilities, classes=dataset.classes)[:12]
plot_mistakes(
    images[[paths.index(mistake.path) for mistake in mistakes]],
    [mistake.true for mistake in mistakes],
    [mistake.predicted for mistake in mistakes],
    [mistake.confidence for mistake in mistakes],
)

# %% [markdown]
# ## 混淆矩阵 · Confusion matrix
#
# 每一行是真实的类别，每一列是预测的类别；对角线上是正确的预测。
#
# Each row is a true class, each column a predicted class; the correct predictions are on the diagonal.

# %%
from convscope.plotting.confusion import plot_confusion

plot_confusion(metrics.confusion, dataset.classes)

# %% [markdown]
# ## 保存模型 · Save the model
#
# 保存的模型是 ONNX 文件：用它预测、查看网络内部，都不需要 TensorFlow。
#
# The saved model is ONNX files: predicting, and looking inside the network, needs no TensorFlow.

# %%
from convscope import save_bundle

model = save_bundle(learner, "../runs/dogs_vs_cats")
sorted(file.name for file in model.iterdir())

# %% [markdown]
# ## 滤波器 · Filters
#
# 滤波器是卷积层的权重：红色为正，蓝色为负，白色为零。它们的初始值是随机数，训练时间短，变化就小。
# 第一个卷积层的输入是图片，有红、绿、蓝三个通道；这里是 32 个滤波器在红色通道上的权重。
#
# Filters are the weights of a convolution: red is positive, blue negative, white zero. Their initial values are random,
# and a short training changes them only a little. The input of the first convolution is the image, which has three
# channels, red, green and blue; these are the weights of its 32 filters for red.

# %%
from convscope.bundle.introspection import open_introspection
from convscope.plotting.channels import plot_filters

inside = open_introspection(model)
first, second, *_ = inside.convolutions
plot_filters(inside.filters(first), input_channel=0, title=first)

# %% [markdown]
# 同样的滤波器，绿色通道。三个通道的权重相似，滤波器检测的是明暗；相反，检测的就是颜色。
#
# The same filters for green. Where the weights are similar for all colours, a filter detects light and dark; where they
# are opposite, it detects colour.

# %%
plot_filters(inside.filters(first), input_channel=1, title=first)

# %% [markdown]
# 第二个卷积层的输入不是图片，而是第一个卷积块的 32 个输出通道；这里是其中两个通道上的权重。
#
# The input of the second convolution is not the image but the 32 output channels of the first block; here are the
# weights for two of them.

# %%
plot_filters(inside.filters(second), input_channel=0, title=second)

# %%
plot_filters(inside.filters(second), input_channel=1, title=second)

# %% [markdown]
# ## 两张图片 · Two images
#
# 两个类别各取一张验证图片：训练时没有用过它们。
#
# One validation image of each of two classes, which were not used in training.

# %%
pair = [int(np.flatnonzero(labels == label)[0]) for label in (0, 1)]
looks = [inside.run(images[row]) for row in pair]
predicted = [int(look.probabilities.argmax()) for look in looks]
plot_images(images[pair], dataset.classes[:2], [dataset.classes[label] for label in predicted])

# %% [markdown]
# ## 激活 · Activations
#
# 每个滤波器在图片上滑动，得到一个通道；最大池化取每 2 × 2 个值中的最大值，ReLU 把负数变成零。
# 越亮的地方，激活越强。在第一个卷积块 32 个通道中较亮的几个里，还认得出原来的照片。
#
# Each filter slides over the image and gives one channel, of which max pooling takes the largest of each 2 × 2 values,
# and the ReLU sets the negative ones to zero. The brighter a place, the stronger the activation. In the brighter ones
# of the first block's 32 channels the photo is still easy to recognize.

# %%
from convscope.plotting.channels import plot_activations

plot_activations(looks[0].activations["block1"], title=f"activations of block1, {dataset.classes[0]}")

# %%
plot_activations(looks[1].activations["block1"], title=f"activations of block1, {dataset.classes[1]}")

# %% [markdown]
# 第二个卷积块的通道又小了一半：细节少了，留下的是边缘和纹理。
#
# The channels of the second block are half as large again: fewer details, more edges and textures.

# %%
plot_activations(looks[0].activations["block2"], title=f"activations of block2, {dataset.classes[0]}")

# %%
plot_activations(looks[1].activations["block2"], title=f"activations of block2, {dataset.classes[1]}")

# %% [markdown]
# ## 热力图 · Heat maps
#
# HiResCAM 热力图：颜色越亮，图片的那一处对预测类别的 logit 贡献越大；没有颜色，就没有贡献。
# 颜色落在动物身上最好；落在背景上，说明网络学到的还不够。
#
# HiResCAM heat maps: the brighter a place, the more it contributes to the logit of the predicted class; no colour: no
# evidence. Colour on the animal is good; colour on the background means that the network needs more training.

# %%
from convscope.plotting.heatmap import plot_heatmap

title = f"heat map for {dataset.classes[predicted[0]]}"
plot_heatmap(images[pair[0]], looks[0].heat, class_index=predicted[0], title=title)

# %%
title = f"heat map for {dataset.classes[predicted[1]]}"
plot_heatmap(images[pair[1]], looks[1].heat, class_index=predicted[1], title=title)

# %% [markdown]
# ## 把预测写成 CSV · Predictions as CSV
#
# 每张图片一行，按给出的顺序：每个类别的概率，最后是 `id`，也就是不带后缀的文件名。去掉 `table=...`，
# 表里就有完整的路径、预测的类别和置信度。
#
# One row for each image, in the order given: the probability of each class, then the `id`, which is the file's name
# without its suffix. Without `table=...` the table has the full path, the predicted class and its confidence.

# %%
from convscope import Table, predict

photos = [str(dataset.root / path) for path in paths]
out = model.parent / "dogs_vs_cats.csv"
out.unlink(missing_ok=True)  # 不会覆盖已有的文件 · an existing file is never overwritten
table = predict(model, photos, out=out, table=Table(format="reference"))
table

# %%
print(*table.out.read_text(encoding="utf-8").splitlines()[:6], sep="\n")
