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
# 每走一步都停下来看看：它答对了多少，错在哪里，又看到了什么。
#
# We train a small network, three convolutions and two dense layers, on the photos of Kaggle's Dogs vs Cats.
# After each step we stop and look: how many answers are right, which ones are wrong, and what the network sees.

# %% [markdown]
# ## 配置 · Configure
#
# 照片放在一个文件夹里，每个类别一个子文件夹：`cat` 和 `dog`。
# 想用自己的照片，就把环境变量 `CONVSCOPE_NOTEBOOK_DATA` 设为你的文件夹。
#
# The photos are in one folder with a sub-folder for each class, `cat` and `dog`. To use your own photos, set the
# environment variable `CONVSCOPE_NOTEBOOK_DATA` to your folder.

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
# The training has stages, which end after 1, 100, 1,000 and 10,000 steps. The last one takes about ten minutes on two
# CPU cores; to be done sooner, set `CONVSCOPE_NOTEBOOK_STEPS` to `1,100,1000`.

# %%
stages = [int(step) for step in os.environ.get("CONVSCOPE_NOTEBOOK_STEPS", "1,100,1000,10000").split(",")]
stages

# %% [markdown]
# 决定模型的每一个选择都在 `Recipe` 里。每个滤波器都是 3 × 3 像素。
#
# Every choice that shapes the model is in the `Recipe`. Each filter is 3 × 3 pixels.

# %%
from convscope import Recipe

recipe = Recipe(
    network="classic",  # 参照系统的网络 · the reference's network
    image_size=128,  # 每张图片变成 128 × 128 像素 · every image becomes 128 × 128 pixels
    channels=3,  # 红、绿、蓝 · red, green, blue
    filters=(32, 32, 64),  # 三个卷积层各有多少滤波器 · how many filters each convolution has
    dense_units=128,  # 全连接层的宽度 · width of the dense layer
    batch_size=32,  # 每一步看多少张图片 · images per step
    learning_rate=1e-4,  # 每一步改动多少 · how much a step changes
    validation=0.16,  # 留出 16 % 用来检验 · 16 % are held back to judge by
    seed=0,  # 相同的种子，相同的结果 · the same seed, the same result
)

# %% [markdown]
# ## 读取数据 · Load the data
#
# 照片只解码一次，然后保存在缓存里；下次打开只要一两秒。
#
# The photos are decoded once and kept in a cache; opening them again takes a second or two.

# %%
from convscope import open_dataset

dataset = open_dataset(data, recipe)
dataset.images.shape, dataset.images.dtype  # 图片、高、宽、颜色 · images, height, width, colours

# %% [markdown]
# ## 数据有多少 · How many images
#
# 网络从训练集学习，在验证集上接受检验；验证集的图片，它在训练时从未见过。相同的图片总在同一边。
#
# The network learns from the training images, and is judged by the validation images, which it never sees while it
# learns. Equal images are always on the same side.

# %%
for split in ("train", "validation"):
    labels = [dataset.classes[label] for label in dataset.labels[dataset.rows(split)]]
    counts = ", ".join(f"{labels.count(name):,} {name}" for name in dataset.classes)
    print(f"{split:10} {len(labels):6,} = {counts}")

# %% [markdown]
# 有些文件不能用，每一个都有原因；它们不参加训练。
#
# Some files cannot be used, each for a reason; the network does not learn from them.

# %%
print(f"{len(dataset.refused)} 个文件被拒绝 · files refused")
for sample in dataset.refused[:5]:
    print(sample.path, sample.reason)

# %% [markdown]
# ## 看看图片 · Look at the images
#
# 随机取九张训练图片，上方是它们的类别。
#
# Nine training images, drawn at random, with their classes above them.

# %%
import numpy as np

from convscope.plotting.figures import plot_images

nine = np.random.default_rng(recipe.seed).choice(dataset.rows("train"), 9, replace=False)
plot_images(dataset.images[nine], [dataset.classes[label] for label in dataset.labels[nine]])

# %% [markdown]
# ## 搭建网络 · Build the network
#
# `Learner` 按照 `Recipe` 搭建网络。表中每一行是一层：名字、输出的形状、权重的个数。
#
# A `Learner` builds the network that the `Recipe` describes. Each line is a layer: its name, the shape of what comes
# out of it, and how many weights it has.

# %%
from convscope import Learner

learner = Learner(dataset, recipe)
for layer in learner.model.layers:
    shape = " × ".join(str(size) for size in layer.output.shape[1:])
    print(f"{layer.name:20} {shape:15} {layer.count_params():9,}")

# %% [markdown]
# 池化在 ReLU 之前还是之后，结果相同；先池化，要算的只剩四分之一。几乎所有的权重都在 `dense` 一层。
#
# Pooling before or after the ReLU gives the same values; pooling first leaves a quarter of the work. Almost all of the
# weights are in the layer `dense`.

# %% [markdown]
# ## 训练 · Train
#
# 每一步，网络看一批图片，再把权重改动一点，让答案好一点。下面的函数训练到某一步为止，然后用全部验证图片检验。
#
# In each step the network looks at one batch of images and changes its weights a little, so that its answers get a
# little better. This function learns up to some step, then judges by all validation images.


# %%
def learn_until(step):
    learner.fit(steps=step - learner.step)
    judged = learner.evaluate()
    print(f"{learner.step:,} 步 · steps: 准确率 · accuracy {judged['accuracy']:.1%}, 损失 · loss {judged['loss']:.3f}")


# %% [markdown]
# ### 开头 · The beginning
#
# 两个类别各占一半，所以瞎猜也能对 50 %。一步之后，网络还和瞎猜差不多。
#
# Half of the images are of each class, so that guessing is right for 50 %. After one step the network is about as good.

# %%
learn_until(stages[0])

# %% [markdown]
# ### 继续 · Going on
#
# 同一个 `Learner` 接着学，不从头开始。每看完一遍训练图片就打印一行：训练准确率、验证损失和验证准确率。
#
# The same `Learner` goes on where it stood. Each time it has seen all training images it prints a line: how it does on
# the training images, and on the validation images.

# %%
for stage in stages[1:]:
    learn_until(stage)

# %% [markdown]
# ## 学习曲线 · Learning curves
#
# 训练损失一直下降，而验证损失先降后升，就是过拟合：网络开始背下图片，而不是学会类别。虚线标出验证损失最低的一轮。
#
# Where the training loss keeps falling while the validation loss rises again, the network learns its images by heart
# and not the classes: it overfits. The dotted line marks the epoch with the lowest validation loss.

# %%
from convscope.plotting.figures import plot_history

columns = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy")
plot_history({name: [getattr(epoch, name) for epoch in learner.history] for name in columns})

# %% [markdown]
# ## 准确率 · Accuracy
#
# 用另一批同样多的图片检验，数字会略有不同。95 % 置信区间说明它有多可靠：图片越多，区间越窄。
#
# Judged by as many other images, the figure would be a little different. The 95 % interval says how far to trust it:
# more images make it narrower.

# %%
from convscope.statistics.metrics import summarize

validation = dataset.rows("validation")
images, truth = dataset.images[validation], dataset.labels[validation]
probabilities = learner.predict(images)
metrics = summarize(truth, probabilities, classes=dataset.classes, split="validation")
accuracy = metrics.accuracy
print(f"准确率 · accuracy {accuracy.value:.1%} ({accuracy.low:.1%} – {accuracy.high:.1%}), {metrics.count:,} images")

# %% [markdown]
# ## 错误 · Mistakes
#
# 最有把握的错误排在最前面：它们最能说明问题。有时错的不是网络，而是标签。
#
# The most confident mistakes come first, since they teach most. Sometimes it is the label that is wrong.

# %%
from convscope.evaluation.mistakes import find_mistakes
from convscope.plotting.figures import plot_mistakes

paths = [dataset.samples[row].path for row in validation]
worst = find_mistakes(paths, truth, probabilities, classes=dataset.classes)[:12]
plot_mistakes(
    images[[paths.index(mistake.path) for mistake in worst]],
    [mistake.true for mistake in worst],
    [mistake.predicted for mistake in worst],
    [mistake.confidence for mistake in worst],
)

# %% [markdown]
# ## 混淆矩阵 · Confusion matrix
#
# 每一行是真实的类别，每一列是网络的答案；对角线上是答对的。
#
# Each row is a true class, each column an answer of the network; the right answers are on the diagonal.

# %%
from convscope.plotting.figures import plot_confusion

plot_confusion(metrics.confusion, dataset.classes)

# %% [markdown]
# ## 滤波器 · Filters
#
# 滤波器就是卷积层的权重：红色为正，蓝色为负，白色为零。它们从随机数开始，训练时间短，变化就小。
# 第一个卷积层看的是图片，有红、绿、蓝三个输入通道；这里是红色通道的 32 个滤波器。
#
# A filter is some of a convolution's weights: red is positive, blue negative, white zero. They began as random numbers,
# and a short training changes them only a little. The first convolution looks at the image, which has three input
# channels, red, green and blue; these are its 32 filters for red.

# %%
from convscope.explanation.filters import convolutions_of, filters_of
from convscope.plotting.figures import plot_filters

first, second, *_ = convolutions_of(learner.model)
plot_filters(filters_of(learner.model, first), input_channel=0, title=first)

# %% [markdown]
# 同样的滤波器，绿色通道。三个通道的图案相似，滤波器看的是明暗；图案相反，看的就是颜色。
#
# The same filters for green. Where the pattern is the same for all colours, a filter looks at light and dark; where it
# is the opposite, at colour.

# %%
plot_filters(filters_of(learner.model, first), input_channel=1, title=first)

# %% [markdown]
# 第二个卷积层看的不是图片，而是第一层的 32 个输出，所以有 32 个输入通道；这里是其中两个。
#
# The second convolution does not look at the image but at the 32 outputs of the first, so that it has 32 input
# channels; here are two of them.

# %%
plot_filters(filters_of(learner.model, second), input_channel=0, title=second)

# %%
plot_filters(filters_of(learner.model, second), input_channel=1, title=second)

# %% [markdown]
# ## 两张图片 · Two images
#
# 从验证集中每个类别取一张：网络从未学过它们。
#
# One validation image of each of two classes: the network has not learned from them.

# %%
pair = [int(np.flatnonzero(truth == label)[0]) for label in (0, 1)]
answers = probabilities[pair].argmax(axis=1)
plot_images(images[pair], [dataset.classes[label] for label in (0, 1)], [dataset.classes[answer] for answer in answers])

# %% [markdown]
# ## 每一层看到了什么 · What each layer makes of an image
#
# 每个滤波器在图片上滑过，得到一张新的图；池化留下每 2 × 2 格中的最大值，ReLU 把负数变成零。
# 越亮的地方，越符合滤波器的图案。在第一层 32 个通道中较亮的几个里，还认得出原来的照片。
#
# Each filter slides over the image and makes a new one, of which the pooling keeps the largest of each 2 × 2 values,
# and the ReLU makes the negative ones zero. The brighter a place, the better it fits the filter's pattern. In the
# brighter ones of the first layer's 32 channels the photo is still easy to recognize.

# %%
from convscope.explanation.activations import activations_of
from convscope.plotting.figures import plot_activations

seen = [activations_of(learner.model, images[each], ["block1", "block2"]) for each in pair]
plot_activations(seen[0]["block1"], title=f"block1, {dataset.classes[0]}")

# %%
plot_activations(seen[1]["block1"], title=f"block1, {dataset.classes[1]}")

# %% [markdown]
# 第二层的图又小了一半：细节少了，留下的是边缘和纹理。
#
# The images of the second layer are half as large again: there is less detail, and more of edges and textures.

# %%
plot_activations(seen[0]["block2"], title=f"block2, {dataset.classes[0]}")

# %%
plot_activations(seen[1]["block2"], title=f"block2, {dataset.classes[1]}")

# %% [markdown]
# ## 热力图 · Where the network looks
#
# Grad-CAM 热力图：颜色越红，图片的那一处越支持网络的答案。红色落在动物身上最好；落在背景上，说明网络学得还不够。
#
# The Grad-CAM heat map: the redder a place, the more it speaks for the network's answer. Red on the animal is good; red
# on the background says that the network has not learned enough yet.

# %%
from convscope.explanation.heatmaps import grad_cam
from convscope.plotting.figures import plot_heatmap

heat = grad_cam(learner.model, images[pair[0]], int(answers[0]))
plot_heatmap(images[pair[0]], heat, title=f"what speaks for {dataset.classes[answers[0]]}")

# %%
heat = grad_cam(learner.model, images[pair[1]], int(answers[1]))
plot_heatmap(images[pair[1]], heat, title=f"what speaks for {dataset.classes[answers[1]]}")

# %% [markdown]
# ## 把预测写成 CSV · Predictions as CSV
#
# 保存的模型是一个 ONNX 文件；用它预测不需要 TensorFlow。
#
# The saved model is an ONNX file; predicting with it needs no TensorFlow.

# %%
model = learner.save("../runs/dogs_vs_cats")
sorted(file.name for file in model.iterdir())

# %% [markdown]
# 每张图片一行，按给出的顺序：每个类别的概率，最后是 `id`，也就是不带后缀的文件名。去掉 `table=...`，
# 表里就有完整的路径、答案和把握。
#
# One row for each image, in the order given: the probability of each class, then the `id`, which is the file's name
# without its suffix. Leave out `table=...`, and the table has the whole path, the answer, and how sure it is.

# %%
from convscope import Table, predict

photos = [str(dataset.root / path) for path in paths]
out = model.parent / "dogs_vs_cats.csv"
out.unlink(missing_ok=True)  # 不会覆盖已有的文件 · no file is ever written over
table = predict(model, photos, out=out, table=Table(format="reference"))
table

# %%
print(*table.out.read_text(encoding="utf-8").splitlines()[:6], sep="\n")
