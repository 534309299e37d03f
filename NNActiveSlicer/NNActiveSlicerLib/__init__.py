"""The panel of the module NNActive: a thin layer of Qt over NNActiveLogic."""
