"""Reading a bundle, the folder of a trained model, by ONNX Runtime alone: prediction, introspection, neighbours."""
